"""A real ComfyUI for the tests: find it, give it an environment of its own, start it, talk to it.

Nothing here writes into the user's ComfyUI or its environment: everything made lies in this repository's ``.cache`` and
``.venv-comfy`` and in the base directory a `Server` is given. Importing needs the standard library only; listening to
events needs the package ``websocket-client``.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

REPO = Path(__file__).absolute().parents[2]
STATED = re.search(r'^requires-comfyui = ">=([\d.]+)"', (REPO / "pyproject.toml").read_text("utf-8"), re.MULTILINE)
OLDEST = STATED[1]  # the oldest release that is supported
OLDEST_COMMIT = "fc0cb10bcbee6e73ed3caf34c27f7bde4559a07f"
OLDEST_LIBRARIES = "transformers==4.57.6 huggingface_hub==0.36.2 av==14.2.0 safetensors==0.4.3 einops==0.3.0"
UNUSED_DATA = "comfy/text_encoders/llama_tokenizer/tokenizer.json"  # partial copies of the history lack this large file
UNUSED_PACKAGES = ("comfyui-workflow-templates",)  # pages and pictures; the server starts without them

# ------------------------------------------------------------------------------------------------ which ComfyUI


def find_comfyui() -> Path | None:
    """The ComfyUI to test in: COMFYUI_PATH, the one this pack is installed in, or comfy-cli's default place."""
    if named := _named_by("COMFYUI_PATH"):
        return named
    host = REPO.parents[1] if REPO.parent.name == "custom_nodes" else None
    places = (host, Path.home() / "comfy" / "ComfyUI")
    return next((place for place in places if place and _is_comfyui(place)), None)


def releases(checkout: Path, into: Path = REPO / ".cache") -> dict[str, Path | None]:
    """The ComfyUI folders to test: the found one and the oldest supported release.

    The oldest is the folder COMFYUI_OLDEST_PATH names, or else is exported from the checkout's own history.

    Returns:
        ``{"found": checkout, OLDEST: folder}``; None in place of the second where the history does not reach that far.
    """
    oldest = _named_by("COMFYUI_OLDEST_PATH") or _export(checkout, OLDEST_COMMIT, into / f"comfyui-{OLDEST}")
    return {"found": checkout, OLDEST: oldest}


def _is_comfyui(folder: Path) -> bool:
    return (folder / "main.py").is_file() and (folder / "comfyui_version.py").is_file()


def _named_by(variable: str) -> Path | None:
    if not os.environ.get(variable):
        return None
    folder = Path(os.environ[variable]).expanduser().absolute()
    if not _is_comfyui(folder):
        raise ValueError(f"{variable} names {folder}, which is no ComfyUI: it lacks main.py or comfyui_version.py")
    return folder


def _export(checkout: Path, commit: str, into: Path) -> Path | None:
    """Export a commit of a checkout's history into a folder, once; None where that history lacks it."""
    if _is_comfyui(into):
        return into
    git = ["git", "-C", str(checkout)]
    outside = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}  # a hook sets GIT_DIR
    quiet = {"env": outside | {"GIT_NO_LAZY_FETCH": "1"}, "capture_output": True}
    if not shutil.which("git") or subprocess.run([*git, "cat-file", "-e", f"{commit}^{{commit}}"], **quiet).returncode:
        return None
    unfinished = into.with_name(f"{into.name}.{uuid.uuid4().hex}")
    unfinished.mkdir(parents=True)
    try:
        archive = unfinished / "export.zip"
        what = [commit, "--", ".", f":(exclude){UNUSED_DATA}"]
        subprocess.run([*git, "archive", "--format=zip", f"--output={archive}", *what], check=True, **quiet)
        shutil.unpack_archive(archive, unfinished)
        archive.unlink()
        unfinished.rename(into)
    except OSError:
        if not _is_comfyui(into):  # else another process of the tests was first
            raise
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return into


# ------------------------------------------------------------------------------------------------ its environment


def environment(checkout: Path, at: Path = REPO / ".venv-comfy") -> Path:
    """A python that runs every release, in a virtual environment built once (minutes) and re-used.

    Nothing of this pack's own is installed: it must do with what ComfyUI has.

    It gets exactly the torch release that runs here: left to itself pip would fetch another one, with gigabytes of CUDA.
    A stamp, written last, holds a digest of all that went in: a change or an interrupted build means building anew.

    Args:
        checkout: The ComfyUI whose requirements count; the newest, which older releases run with too.
        at: The environment's folder.

    Returns:
        The environment's python.
    """
    wheels = _torch_family(metadata.version("torch"))
    requirements = [*_requirements(checkout / "requirements.txt"), "pytest"]
    hook = Path(__file__).with_name("cpu_torchvision.py")
    recipe = [sys.version, *wheels, *requirements, hook.read_text("utf-8")]
    digest = hashlib.sha256("\n".join(recipe).encode()).hexdigest()
    python = at / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    stamp = at / "complete.txt"
    if python.exists() and stamp.exists() and stamp.read_text() == digest:
        return python

    shutil.rmtree(at, ignore_errors=True)
    _call(sys.executable, "-m", "venv", str(at))
    (at / "constraints.txt").write_text("\n".join(wheels))
    (at / "requirements.txt").write_text("\n".join(requirements), "utf-8")
    pip = (str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    _call(*pip, "--no-deps", *wheels)
    _call(*pip, "-c", str(at / "constraints.txt"), "-r", str(at / "requirements.txt"))
    _run_without_cuda(python, hook)
    stamp.write_text(digest)
    return python


def variables() -> dict[str, str]:
    """The variables to run the environment's python with: no traces in the checkout, and quick starts from a cache."""
    cache = {"PYTHONPYCACHEPREFIX": str(REPO / ".cache" / "pycache"), "PYTHONDONTWRITEBYTECODE": ""}
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return kept | cache | {"PYTHONUNBUFFERED": "1"}


def _torch_family(torch: str) -> list[str]:
    """The requirements for a torch and the torchvision and torchaudio made for it."""
    release = torch.partition("+")[0]
    major, minor, patch = map(int, release.split("."))
    audio = min((major, minor, patch), (2, 11, 0))  # the last torchaudio, which serves every later torch
    return [f"torch=={release}", f"torchvision==0.{minor + 15}.{patch}", "torchaudio=={}.{}.{}".format(*audio)]


def _requirements(file: Path) -> list[str]:
    lines = (line.partition("#")[0].strip() for line in file.read_text("utf-8").splitlines())
    return [line for line in lines if line and not line.startswith(UNUSED_PACKAGES)]


def _run_without_cuda(python: Path, hook: Path) -> None:
    """Make torchvision and torchaudio importable where their wheels link a CUDA that torch does not bring."""
    packages = Path(_call(str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    shutil.copy(hook, packages)
    (packages / f"{hook.stem}.pth").write_text(f"import {hook.stem}; {hook.stem}.install()\n")
    if subprocess.run([python, "-c", "import torchaudio"], env=variables(), capture_output=True).returncode:
        for compiled in (packages / "torchaudio").rglob("*.so"):  # optional: without them it is plain Python
            compiled.unlink()
    _call(str(python), "-c", "import torchvision, torchaudio")


def _call(*command: str) -> str:
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "errors": "replace"}
    done = subprocess.run(command, env=variables(), **streams)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}\nended with {done.returncode}:\n{done.stdout[-4000:]}")
    return done.stdout


# ------------------------------------------------------------------------------------------------ a running server


class RefusedError(RuntimeError):
    """The server answered a request with an error.

    Attributes:
        status: The HTTP status, such as 400.
        answer: What came with it; for ``/prompt`` a dict with ``error`` and ``node_errors``.
    """

    def __init__(self, path: str, status: int, answer: Any) -> None:
        super().__init__(f"{path} was answered {status}: {answer}")
        self.status = status
        self.answer = answer


class Server:
    """ComfyUI's own ``main.py`` on the CPU, on a free port, in a base directory of its own, as a context manager.

    Args:
        checkout: The ComfyUI to run.
        python: The interpreter to run it with; see `environment`.
        base: An existing, empty folder for the models, input, output, custom_nodes and the log.
        packs: Node packs to install, ``{folder name: folder}``; linked where links can be made, else copied.
        arguments: More of ComfyUI's command line.
        patience: Seconds the start may take.

    Attributes:
        base: The base directory.
        url: Where the server answers, such as ``http://127.0.0.1:8188``.
    """

    FLAGS = ("--cpu", "--disable-auto-launch", "--disable-api-nodes", "--listen", "127.0.0.1")
    FOLDERS = ("custom_nodes", "input", "models", "output", "temp", "user")

    def __init__(
        self,
        checkout: Path,
        python: Path,
        base: Path,
        packs: Mapping[str, Path],
        arguments: Sequence[str] = (),
        patience: float = 180,
    ) -> None:
        self.base = base
        self.url = f"http://127.0.0.1:{_free_port()}"
        self._patience = patience
        self._process: subprocess.Popen | None = None
        for folder in self.FOLDERS:
            (base / folder).mkdir(exist_ok=True)
        for name, folder in packs.items():
            _link(folder, base / "custom_nodes" / name)
        self._command = [str(python), str(checkout / "main.py"), *self.FLAGS, "--port", self.url.rpartition(":")[2]]
        self._command += ["--base-directory", str(base), "--database-url", f"sqlite:///{base / 'user' / 'comfyui.db'}"]
        self._command += arguments

    def __enter__(self) -> Server:
        with self._log_file.open("wb") as log:
            streams = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": subprocess.STDOUT}
            self._process = subprocess.Popen(self._command, cwd=self.base, env=variables(), **streams)
        try:
            self.wait_for(lambda: self.get("/queue"), self._patience, "its first answer")
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End the process, by force if it does not go."""
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    @property
    def log(self) -> str:
        """All that the server has printed so far."""
        return self._log_file.read_text("utf-8", errors="replace")

    @property
    def _log_file(self) -> Path:
        return self.base / "server.log"

    def get(self, path: str) -> Any:
        """The decoded JSON at a path, or the bytes where it is something else."""
        return self._ask(path)

    def post(self, path: str, content: Any = None) -> Any:
        """Send JSON or bytes to a path, or nothing where no content is given, and return the answer.

        Raises:
            RefusedError: The server answered with an error, such as 400 for a prompt it cannot run.
        """
        if isinstance(content, bytes):
            return self._ask(path, content, "text/plain")
        return self._ask(path, b"" if content is None else json.dumps(content).encode(), "application/json")

    def upload(self, file: Path) -> str:
        """Upload a picture or a clip to the input folder, as the upload button does; returns the name to select."""
        mark = uuid.uuid4().hex
        part = f'--{mark}\r\nContent-Disposition: form-data; name="{{}}"{{}}\r\n\r\n'
        head = part.format("overwrite", "") + "true\r\n" + part.format("image", f'; filename="{file.name}"')
        content = head.encode() + file.read_bytes() + f"\r\n--{mark}--\r\n".encode()
        return self._ask("/upload/image", content, f"multipart/form-data; boundary={mark}")["name"]

    def prompt(self, graph: dict, client_id: str = "") -> str:
        """Queue a graph in the API format; returns its prompt id. See `post` for what a bad graph raises."""
        return self.post("/prompt", {"prompt": graph, "client_id": client_id})["prompt_id"]

    def history(self, prompt_id: str, timeout: float = 120) -> dict:
        """The record of a finished prompt: ``outputs``, ``status``, ... It appears a moment after the last event."""
        return self.wait_for(
            lambda: self.get(f"/history/{prompt_id}").get(prompt_id), timeout, f"the end of {prompt_id}"
        )

    def run(self, graph: dict, timeout: float = 120) -> dict:
        """Run a graph to its end and return its outputs, ``{node id: {"images": [...], ...}}``.

        Raises:
            RuntimeError: A node failed; the message holds ComfyUI's.
        """
        record = self.history(self.prompt(graph), timeout)
        if record["status"]["status_str"] != "success":
            raise RuntimeError(f"the prompt failed: {json.dumps(record['status']['messages'], indent=1)}")
        return record["outputs"]

    def view(self, saved: Mapping[str, str]) -> bytes:
        """The content of a file that an output names by filename, subfolder and type."""
        return self.get(f"/view?{urllib.parse.urlencode(saved)}")

    def events(self, client_id: str | None = None) -> Events:
        """Listen to what the server tells a client, as a context manager; queue prompts with its `client_id`."""
        return Events(self.url, client_id or uuid.uuid4().hex)

    def wait_for(self, look: Callable[[], Any], timeout: float, what: str) -> Any:
        """Look until there is something to see, and return it."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                if seen := look():
                    return seen
            except OSError:  # nobody listens yet
                pass
            time.sleep(0.05)
        state = f"still running after {timeout} s" if self._process.poll() is None else "the server has ended"
        raise TimeoutError(f"waited in vain for {what}, {state}; its log ends with:\n{self.log[-4000:]}")

    def _ask(self, path: str, content: bytes | None = None, kind: str = "") -> Any:
        request = urllib.request.Request(self.url + path, content, {"Content-Type": kind} if kind else {})
        try:
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=60) as answer:
                return _decode(answer)
        except urllib.error.HTTPError as error:
            raise RefusedError(path, error.code, _decode(error)) from None


OPENED = """() => {  // with the workflow that it brings back or begins with: it would replace one that is opened too early
  const manager = window.app?.graph && window.app.extensionManager;
  return manager?.workflow?.activeWorkflow && !manager.spinner;
}"""


def open_page(page: Any, url: str) -> None:
    """Open a server's page in a page of Playwright's, and wait until it can be used."""
    page.goto(url)
    page.wait_for_function(OPENED, timeout=120_000)
    page.get_by_test_id("queue-button").wait_for(timeout=120_000)


@dataclass(frozen=True)
class Preview:
    """A picture sent while a node runs.

    Attributes:
        image: The encoded picture, JPEG or PNG.
        metadata: What the server says of it: ``node_id``, ``prompt_id``, ``image_type``, ...
    """

    image: bytes
    metadata: dict


class Events:
    """What the server tells one client, collected while it comes.

    Attributes:
        client_id: The id to queue prompts with, so that this client hears of them.
        messages: Every JSON message, ``{"type": ..., "data": {...}}``, in order.
        previews: Every preview picture, in order.
        texts: Every progress text, in order.
    """

    def __init__(self, url: str, client_id: str) -> None:
        self.client_id = client_id
        self.messages: list[dict] = []
        self.previews: list[Preview] = []
        self.texts: list[str] = []
        self._address = f"{url.replace('http', 'ws', 1)}/ws?clientId={client_id}"
        self._news = threading.Condition()

    def __enter__(self) -> Events:
        import websocket  # websocket-client; here, so that run.py can import this module without it

        self._socket = websocket.create_connection(self._address, timeout=30)
        self._socket.settimeout(None)
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()
        self._socket.send(json.dumps({"type": "feature_flags", "data": {"supports_preview_metadata": True}}))
        self.wait("feature_flags")
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.shutdown()
        self._thread.join(10)

    def wait(self, kind: str, timeout: float = 60, **data: Any) -> dict:
        """The first message of a kind whose data holds these values, now or within the timeout."""

        def found() -> dict | None:
            wanted = (m for m in self.messages if m["type"] == kind and data.items() <= m["data"].items())
            return next(wanted, None)

        with self._news:
            if message := self._news.wait_for(found, timeout):
                return message
        raise TimeoutError(f"no {kind} with {data} in {timeout} s, only {[m['type'] for m in self.messages]}")

    def _listen(self) -> None:
        import websocket

        try:
            while True:
                opcode, content = self._socket.recv_data()
                with self._news:
                    if opcode == websocket.ABNF.OPCODE_TEXT:
                        self.messages.append(json.loads(content))
                    elif opcode == websocket.ABNF.OPCODE_BINARY and (preview := _read_preview(content)):
                        self.previews.append(preview)
                    elif opcode == websocket.ABNF.OPCODE_BINARY and int.from_bytes(content[:4], "big") == 3:
                        self.texts.append(content[8 + int.from_bytes(content[4:8], "big") :].decode())
                    self._news.notify_all()
        except (OSError, websocket.WebSocketException):
            return  # closed, by either side


def _read_preview(content: bytes) -> Preview | None:
    kind, size = int.from_bytes(content[:4], "big"), int.from_bytes(content[4:8], "big")
    if kind == 4:  # picture with metadata
        return Preview(content[8 + size :], json.loads(content[8 : 8 + size]))
    return Preview(content[8:], {}) if kind == 1 else None


def _decode(answer: Any) -> Any:
    content = answer.read()
    return json.loads(content) if answer.headers.get_content_type() == "application/json" else content


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _link(folder: Path, at: Path) -> None:
    try:
        at.symlink_to(folder.absolute(), target_is_directory=True)
    except OSError:  # Windows lets few users make links
        shutil.copytree(folder, at, ignore=shutil.ignore_patterns(".*", "__pycache__"))


# ------------------------------------------------------------------------------------------------ saved workflows

WIDGET_TYPES = {"INT", "FLOAT", "BOOLEAN", "STRING", "COMBO", "COMFY_DYNAMICCOMBO_V3", "COLOR", "COLORS", "TEXTAREA"}
WIDGET_TYPES |= {"MARKDOWN", "CURVE", "RANGE", "CHART", "GALLERIA", "PAINTER", "IMAGECOMPARE", "BOUNDING_BOX"}
FRONTEND_TYPES = {"Note", "MarkdownNote", "Reroute", "PrimitiveNode"}  # known to the page, not to the server
MUTED, BYPASSED = 2, 4


def workflow_to_prompt(workflow: dict, object_info: dict) -> dict:
    """Convert a saved workflow to the API format, as the page does when the user presses Run.

    Subgraphs are not expanded.

    Args:
        workflow: The content of a workflow file.
        object_info: What the server says of its nodes, from ``/object_info``.

    Returns:
        ``{node id: {"class_type": ..., "inputs": {...}}}`` for `Server.prompt`.

    Raises:
        ValueError: The workflow holds a node that the server does not have.
    """
    nodes = {node["id"]: node for node in workflow["nodes"]}
    links = dict(map(_origin, workflow["links"]))
    prompt = {}
    for number, node in nodes.items():
        if node["type"] in FRONTEND_TYPES or node.get("mode") in (MUTED, BYPASSED):
            continue
        if node["type"] not in object_info:
            raise ValueError(f"node {number} is a {node['type']!r}, which this server does not have")
        inputs = _widget_values(node, object_info[node["type"]])
        for slot in node.get("inputs", ()):
            source = _resolve(slot, nodes, links)
            if source is not None:
                inputs[slot["name"]] = source
        prompt[str(number)] = {"class_type": node["type"], "inputs": inputs}
    return prompt


def _origin(link: list | dict) -> tuple[int, tuple[int, int]]:
    """The id of a link, and the node and slot it comes from."""
    if isinstance(link, dict):
        return link["id"], (link["origin_id"], link["origin_slot"])
    return link[0], (link[1], link[2])


def _resolve(slot: dict, nodes: dict, links: dict) -> Any:
    """What an input gets through its link: ``[node id, output]``, a primitive's value, or None for nothing."""
    link = slot.get("link")
    while link is not None:
        number, output = links[link]
        node = nodes[number]
        inputs = node.get("inputs", [])
        if node["type"] == "PrimitiveNode":
            return node["widgets_values"][0]
        if node.get("mode") == MUTED:
            return None
        if node["type"] == "Reroute":
            through = inputs[0]
        elif node.get("mode") == BYPASSED:  # the input beside the output if it is of its type, else the first that is
            candidates = inputs[output : output + 1] + inputs
            through = next((other for other in candidates if other["type"] == slot["type"]), {})
        else:
            return [str(number), output]
        link = through.get("link")
    return None


def _widget_values(node: dict, info: dict) -> dict:
    """The values of a node's widgets by name: the saved ones, and defaults where the file holds too few."""
    saved = node.get("widgets_values") or []
    if isinstance(saved, dict):  # some packs save them by name
        return dict(saved)
    return dict(_read_widgets(info["input"], info.get("input_order", {}), iter(saved)))


def _read_widgets(groups: dict, order: dict, saved: Iterator, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Deal saved values out to widgets, in the page's order: required, then optional, each choice with what it opens.

    An upload button's value follows all others and is left over.
    """
    for group in ("required", "optional"):
        specs = groups.get(group, {})
        for name in order.get(group, specs):
            kind, options = specs[name][0], (*specs[name], {})[1]
            choices = kind if isinstance(kind, list) else options.get("options", [])
            kind = "COMBO" if isinstance(kind, list) else options.get("widgetType", kind)
            if kind not in WIDGET_TYPES or options.get("forceInput"):
                continue
            first = choices[0] if choices else None
            first = first["key"] if isinstance(first, dict) else first
            value = next(saved, options.get("default", first))
            yield prefix + name, {"__value__": value} if isinstance(value, list) else value
            if options.get("control_after_generate", kind == "INT" and name in ("seed", "noise_seed")):
                next(saved, None)  # what to do with the value after a run
                if kind == "COMBO":
                    next(saved, None)  # and a filter
            if kind == "COMFY_DYNAMICCOMBO_V3":
                opened = next(choice["inputs"] for choice in choices if choice["key"] == value)
                yield from _read_widgets(opened, {}, saved, f"{prefix}{name}.")
