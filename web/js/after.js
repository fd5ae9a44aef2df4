// Adds to what ComfyUI's nodes and widgets do. ComfyUI loads this file too; by itself it does nothing.

/** Let `object` call `act` after its own `method`, with the same arguments. */
export function after(object, method, act) {
  const before = object[method];
  object[method] = function (...rest) {
    const answer = before?.apply(this, rest);
    act(...rest);
    return answer;
  };
}
