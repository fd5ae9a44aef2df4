"""The translations: what a user loses here is a node, or a help page, that can be read."""

import copy
import json
import re
import unicodedata

import pytest
from PIL import Image
from texts import (
    ENGLISH,
    LANGUAGES,
    LOCALES,
    PAGES,
    ROOT,
    SCRIPTS,
    flat,
    locale,
    page,
    table_of,
    tables,
    translations,
    words_of_scripts,
    written,
)

from gvm_core.models.download import GVM

NODES = json.loads((ROOT / "node_list.json").read_text(encoding="utf-8"))
FACT = re.compile(r"{\w+}")  # what a script puts into its texts
NUMBER = re.compile(r"(?:(?<![A-Za-z0-9])-)?\d+(?:\.\d+)?")
CODE, BOLD = re.compile(r"`([^`]+)`"), re.compile(r"\*\*(.+?)\*\*")
PATH = re.compile(r"[#%A-Za-z0-9_.-]*[/#%][#%A-Za-z0-9_./-]*[A-Za-z#%/]")
COMMANDS = set("{}@|")  # of the frontend's messages

each_language = pytest.mark.parametrize("language", LANGUAGES)
each_node = pytest.mark.parametrize("node_id", NODES)


def names(language):
    """How a language calls every input and output, by its English name."""
    return {
        english: other
        for (place, english), (_, other) in zip(flat(locale(ENGLISH)), flat(locale(language)), strict=True)
        if place.endswith("/name")
    }


def nodes_in(text, language):
    """The nodes of this pack that a text names."""
    titles = {content["display_name"]: node_id for node_id, content in locale(language).items()}
    pattern = "|".join(re.escape(title) for title in sorted(titles, key=len, reverse=True))
    return {titles[title] for title in re.findall(pattern, " ".join(text.split()))}


def facts(text, language):
    """What must be the same in all languages."""
    return {
        "numbers": sorted(NUMBER.findall(text)),
        "code": sorted(CODE.findall(text)),
        "paths": sorted(set(PATH.findall(text))),
        "nodes": sorted(nodes_in(text, language)),
    }


def differences(english, text, language):
    """Where a translation does not say what the English text says, or not in the words of the glossary."""
    wanted = facts(english, ENGLISH)
    for kind, found in facts(text, language).items():
        if found != wanted[kind]:
            yield f"{kind} are {found}, in English {wanted[kind]}"
    plain, told = PATH.sub("", CODE.sub("", " ".join(english.split()))), CODE.sub("", text).lower()
    for word, others in translations("English")[language].items():
        here = re.search(rf"(?<![\w-]){word}(s|d)?(?![\w-])", plain, re.IGNORECASE)
        if here and not any(other.lower() in told for other in others):
            yield f"{word!r} is {' or '.join(others)}"


def faults(content, language):
    """What is wrong with the texts of a language: a line for each."""
    english, texts = dict(flat(locale(ENGLISH))), dict(flat(content))
    yield from (f"{place} is missing" for place in english if place not in texts)
    yield from (f"{place} is not in English" for place in texts if place not in english)
    both = [place for place in english if place in texts]
    if both != [place for place in texts if place in english]:
        yield "the order is not that of the English file"
    said = {}
    for place in both:
        text = texts[place]
        if not text.strip() or text != text.strip():
            yield f"{place} is empty, or begins or ends with a space"
        if COMMANDS & set(text):
            yield f"{place} has a character that the page takes for a command"
        if said.setdefault(english[place], text) != text:
            yield f"{place}: {english[place]!r} is translated in two ways"
        yield from (f"{place}: {each}" for each in differences(english[place], text, language))


def test_the_english_texts_are_those_of_every_node_and_of_no_other():
    assert list(locale(ENGLISH)) == list(NODES)
    for place, text in flat(locale(ENGLISH)):
        assert text and not COMMANDS & set(text), place


@each_language
def test_every_language_says_all_that_english_says_with_the_same_numbers_and_names(language):
    assert list(faults(locale(language), language)) == []
    english, others = dict(flat(locale(ENGLISH, "main"))), dict(flat(locale(language, "main")))
    assert list(others) == list(english) and all(others.values())


@each_language
def test_every_fault_in_a_language_is_found(language):
    window, matte = ("GVMMatte", "inputs", "window"), translations("English")[language]["matte"]
    damages = {
        "tooltip is missing": lambda at: at.pop("tooltip"),
        "more is not in English": lambda at: at.update(more="x"),
        "the order": lambda at: at.update(name=at.pop("name")),
        "tooltip is empty": lambda at: at.update(tooltip=" "),
        "takes for a command": lambda at: at.update(tooltip=at["tooltip"] + " {0}"),
        "numbers are ['8', '9'], in English ['8']": lambda at: at.update(tooltip=at["tooltip"] + " 9"),
        "in two ways": lambda at: at.update(tooltip=at["tooltip"] + "."),
        "'matte' is": lambda at: at.update(tooltip=re.sub("|".join(matte), "x", at["tooltip"])),
    }
    for message, damage in damages.items():
        content = copy.deepcopy(locale(language))
        at = content
        for key in window:
            at = at[key]
        damage(at)
        assert [fault for fault in faults(content, language) if message in fault], message


def test_the_player_and_the_line_of_state_say_the_same_in_every_language():
    english = words_of_scripts()[ENGLISH]
    assert sorted(words_of_scripts()) == sorted([ENGLISH, *LANGUAGES])
    assert english["notice"] == GVM.notice
    for language, table in words_of_scripts().items():
        assert list(table) == list(english), language
        for key, said in table.items():
            assert said and said == said.strip(), (language, key)
            assert sorted(FACT.findall(said)) == sorted(FACT.findall(english[key])), (language, key)
            assert language == ENGLISH or list(differences(english[key], said, language)) == [], (language, key)


def test_the_scripts_have_every_text_that_they_use_and_no_other():
    code = {path.name: path.read_text(encoding="utf-8") for path in SCRIPTS.glob("*.js")}
    used = {key for text in code.values() for key in re.findall(r"""\btext\("([^"]+)\"""", text)}
    for kind, name in (("view", "VIEWS"), ("background", "BACKGROUNDS")):
        choices = json.loads(re.findall(rf"const {name} = (\[.+?\]);", code["player.js"])[0])
        used |= {f"{kind}.{choice}" for choice in choices}
    states = re.findall(r"const COLOURS = {(.+?)}", code["model_state.js"])[0]
    used |= {f"state.{state}" for state in re.findall(r"(\w+):", states)}
    assert sorted(used) == sorted(words_of_scripts()[ENGLISH])


@pytest.mark.parametrize("path", sorted(LOCALES.rglob("*")), ids=lambda p: str(p.relative_to(LOCALES)))
def test_comfyui_finds_and_reads_a_locale_file(path):
    if path.is_file():
        assert path.name in ("main.json", "nodeDefs.json")
        text = path.read_text(encoding="utf-8")
        assert text == written(json.loads(text))


@each_language
def test_the_guide_for_translators_has_the_words_of_a_language(language):
    for head in ("English", "word"):
        assert language in translations(head) and all(all(words) for words in translations(head)[language].values())


def test_every_help_page_belongs_to_a_node_and_a_language():
    found = {str(path.relative_to(PAGES).as_posix()) for path in PAGES.rglob("*.md")}
    assert found == {f"{node_id}.md" for node_id in NODES} | {
        f"{n}/{language}.md" for n in NODES for language in LANGUAGES
    }


@each_node
def test_a_help_page_has_the_name_of_its_node_as_title(node_id):
    for language in (ENGLISH, *LANGUAGES):
        assert page(node_id, language).splitlines()[0] == f"# {locale(language)[node_id]['display_name']}"


@each_node
def test_no_table_is_wider_than_the_panel_that_shows_it(node_id):
    """The Info panel cuts a third column off, and its bar is below the whole table."""
    for language in (ENGLISH, *LANGUAGES):
        assert all(len(row) <= 2 for table in tables(page(node_id, language)) for row in table), language


@each_node
def test_a_help_page_shows_what_the_node_does(node_id):
    """``python demos/help_pictures.py`` makes the pictures."""
    shown = {language: re.findall(r"!\[(.+)\]\((\S+)\)", page(node_id, language)) for language in (ENGLISH, *LANGUAGES)}
    (picture,) = {place for pictures in shown.values() for _, place in pictures}
    assert all(len(pictures) == 1 and pictures[0][0] for pictures in shown.values()), "each picture says what it shows"
    assert Image.open(PAGES / picture).width <= 1300 and (PAGES / picture).stat().st_size < 60_000


@each_language
@each_node
def test_a_help_page_says_in_every_language_what_it_says_in_english(node_id, language):
    english, text = page(node_id), page(node_id, language)
    words, labels = translations("word")[language], names(language)
    for head in ("input, default", "output"):
        for row, other in zip(table_of(english, head), table_of(text, words[head][0]), strict=True):
            name, _, default = row[0].replace("*", "").partition("<br>")
            wanted = f"**{labels[name]}** `{name}`" + ("<br>" + words.get(default, [default])[0] if default else "")
            assert other[0] == wanted
            text = text.replace(f"** `{name}`", "**", 1)
    assert [[len(row) for row in table] for table in tables(text)] == [[len(row) for row in t] for t in tables(english)]
    assert list(differences(english, text, language)) == []
    assert text.count("\n\n") == english.count("\n\n"), "there are other paragraphs"


@each_language
@each_node
def test_a_help_page_calls_inputs_and_outputs_as_the_node_does(node_id, language):
    known = names(language)
    wanted = [known[name] for name in BOLD.findall(page(node_id)) if name in known]
    labels = set(known.values())
    assert sorted(name for name in BOLD.findall(page(node_id, language)) if name in labels) == sorted(wanted)


@each_language
@each_node
def test_markdown_shows_bold_text_as_bold(node_id, language):
    """A star between a punctuation mark and a letter is shown as a star."""
    text = page(node_id, language)
    for found in BOLD.finditer(text):
        inner, before, after = found[1], text[: found.start()][-1:], text[found.end() :][:1]
        assert not (is_mark(inner[0]) and before.isalnum()), inner
        assert not (is_mark(inner[-1]) and after.isalnum()), inner


def is_mark(character):
    return unicodedata.category(character)[0] in "PS"
