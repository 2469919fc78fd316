"""Files that no author means well with: name, bytes, and the code of the finding that they must end in."""

from __future__ import annotations

from tests.spec.writing import API, agent

_HEAD = API + "kind: Agent\nmetadata: {name: bad}\nspec:\n"


def _config(text: str) -> bytes:
    return f"{_HEAD}  image: x\n  config: {text}\n".encode()


def _laughs(levels: int, width: int) -> bytes:
    lines = ["  a0: &a0 [lol]"]
    lines += [f"  a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * width)}]" for n in range(1, levels)]
    return (_HEAD + "\n".join(lines) + "\n").encode()


def _merge_bomb() -> bytes:
    lines = ["  a0: &a0 {k: 1}"] + [f"  a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}]}}" for n in range(1, 9)]
    return (_HEAD + "\n".join(lines) + "\n").encode()


HOSTILE: list[tuple[str, bytes, str]] = [
    # size, depth, number
    ("too large", b"#" * (1024 * 1024 + 1), "file-too-large"),
    ("deep lists", b"a: " + b"[" * 200_000, "too-deep"),
    ("deep lists in a row", b"[" * 200_000, "too-deep"),
    ("deep maps in flow", b"{a: " * 100_000, "too-deep"),
    ("deep block lists", b"- " * 200_000, "too-deep"),
    ("deep block maps", b"\n".join(b" " * n + b"a:" for n in range(1_000)), "too-deep"),
    ("deep complex keys", b"? " * 200_000, "bad-key"),
    ("deep and closed", b"a: " + b"[" * 65 + b"]" * 65, "too-deep"),
    ("many documents", b"---\na: 1\n" * 100_000, "too-many-documents"),
    ("many empty documents", b"---\n" * 200_000, "too-many-documents"),
    ("many values", b"a: [" + b"1," * 300_000 + b"]", "too-many-nodes"),
    ("many keys", b"\n".join(b"k%d: 1" % n for n in range(105_000)), "too-many-nodes"),
    ("many values over documents", (b"---\na: [" + b"1," * 900 + b"1]\n") * 300, "too-many-nodes"),
    ("a long key", b"k" * 300 + b": 1", "bad-key"),
    ("a very long key", b"k" * 100_000 + b": 1", "bad-yaml"),
    ("a very long quoted key", b'"' + b"k" * 100_000 + b'": 1', "bad-yaml"),
    # aliases
    ("billion laughs", _laughs(12, 10), "too-many-nodes"),
    ("wide laughs", _laughs(3, 5_000), "too-many-nodes"),
    ("quadratic laughs", _config("[&a [" + "x," * 5_000 + "x], " + "*a, " * 5_000 + "*a]"), "too-many-nodes"),
    ("laughs over documents", (_laughs(4, 20) + b"---\n") * 40, "too-many-nodes"),
    ("a merge-key bomb", _merge_bomb(), "merge-key"),
    ("a merge key", _config("{base: &b {x: 1}, over: {<<: *b}}"), "merge-key"),
    ("an alias in itself", _config("&a [*a]"), "bad-alias"),
    ("an alias in its own map", _config("&a {x: *a}"), "bad-alias"),
    ("an alias before its anchor", _config("[*later, &later 1]"), "bad-alias"),
    ("an alias to another document", b"a: &x 1\n---\nb: *x\n", "bad-alias"),
    ("an alias as key", _config("{a: &x y, *x : 1}"), "bad-key"),
    ("an unknown alias", b"a: *nothing", "bad-alias"),
    ("an anchor without a name", b"a: & 1", "bad-yaml"),
    ("an alias without a name", b"a: * 1", "bad-yaml"),
    ("two anchors on one value", b"a: &x &y 1", "bad-yaml"),
    ("an alias with a tag", b"a: &x 1\nb: !!str *x", "bad-yaml"),
    # tags
    ("python object", b"a: !!python/object/apply:os.system ['true']", "tag"),
    ("python name", b"a: !!python/name:os.system", "tag"),
    ("python tuple", b"a: !!python/tuple [1, 2]", "tag"),
    ("a local tag", b"a: !secret x", "tag"),
    ("a verbatim tag", b"a: !<tag:example.org,2000:x> y", "tag"),
    ("bool tag on text", b'a: !!bool "maybe"', "tag"),
    ("int tag on nothing", b'a: !!int ""', "tag"),
    ("binary tag", b"a: !!binary not-base64", "tag"),
    ("set tag", b"a: !!set {x, y}", "tag"),
    ("timestamp tag", b"a: !!timestamp 2024-13-45", "tag"),
    ("a tag on a key", b"!!int 1: 2", "tag"),
    ("an undeclared handle", b"a: !x!y z", "bad-yaml"),
    ("a bad tag", b"a: !<> z", "bad-yaml"),
    ("an endless tag", b"a: !" + b"x" * 100_000 + b" z", "tag"),
    # numbers
    ("a million nines", _config("9" * 1_000_000), "bad-number"),
    ("a million nines, negative", _config("-" + "9" * 1_000_000), "bad-number"),
    ("beyond 64 bits", _config("{n: 9223372036854775808}"), "bad-number"),
    ("beyond 64 bits in hex", _config("{n: 0xFFFFFFFFFFFFFFFFF}"), "bad-number"),
    ("a float too large", _config("{n: 1e999}"), "bad-number"),
    ("not a number", _config("{n: .nan}"), "bad-number"),
    ("infinity", _config("{n: .inf}"), "bad-number"),
    ("minus infinity", _config("{n: -.Inf}"), "bad-number"),
    # bytes
    ("latin-1", "a: Grüße".encode("latin-1"), "not-utf8"),
    ("utf-16 with a mark", "a: 1".encode("utf-16"), "not-utf8"),
    ("utf-16 without a mark", "a: 1".encode("utf-16-le"), "control-character"),
    ("utf-32", "a: 1".encode("utf-32"), "not-utf8"),
    ("a byte-order mark", b"\xef\xbb\xbfa: 1", "not-utf8"),
    ("a byte-order mark inside", "a: 1\ufeffb".encode(), "control-character"),
    ("overlong", b"a: \xc0\xaf", "not-utf8"),
    ("a surrogate", b"a: \xed\xa0\x80", "not-utf8"),
    ("cut off in a character", b"a: \xe2\x82", "not-utf8"),
    ("NUL", b"a: x\0y", "control-character"),
    ("only NULs", b"\0" * 1000, "control-character"),
    ("bell", b"a: x\x07", "control-character"),
    ("escape sequences", b"a: \x1b[31mred", "control-character"),
    ("delete", b"a: \x7f", "control-character"),
    ("C1 control", "a: \x9b31m".encode(), "control-character"),
    ("form feed", b"a: 1\n\x0cb: 2", "control-character"),
    ("an executable", b"\x7fELF\x02\x01\x01\0", "control-character"),
    ("a gzip", b"\x1f\x8b\x08\0\0\0", "not-utf8"),
    ("a non-character", "a: \uffff".encode(), "control-character"),
    # syntax
    ("a tab as indentation", b"a:\n\tb: 1", "bad-yaml"),
    ("a tab within indentation", _HEAD.encode() + b"  config:\n  \tb: 1", "bad-yaml"),
    ("bad indentation", b"a:\n   b: 1\n  c: 2", "bad-yaml"),
    ("an open list", b"a: [1, 2", "bad-yaml"),
    ("an open map", b"a: {b: 1", "bad-yaml"),
    ("an open quote", b'a: "b', "bad-yaml"),
    ("closed before opened", b"a: ]", "bad-yaml"),
    ("closed otherwise", b"a: [1}", "bad-yaml"),
    ("two colons", b"a: b: c", "bad-yaml"),
    ("an at sign", b"a: @b", "bad-yaml"),
    ("a back-tick", b"a: `b`", "bad-yaml"),
    ("a percent sign", b"%YAML 9.9\n---\na: 1", "bad-yaml"),
    ("a directive twice", b"%YAML 1.1\n%YAML 1.1\n---\na: 1", "bad-yaml"),
    ("a bad escape", b'a: "\\q"', "bad-yaml"),
    ("a bad unicode escape", b'a: "\\ud800"', "bad-yaml"),
    ("a unicode escape too large", b'a: "\\UFFFFFFFF"', "bad-yaml"),
    ("a merge conflict", b"<<<<<<< HEAD\na: 1\n=======\na: 2\n>>>>>>> other\n", "bad-yaml"),
    ("JSON cut off", b'{"apiVersion": "agents.codevald.io/v1", "kind":', "bad-yaml"),
    ("markdown", b"# Title\n\n- a\n- b\n\n**bold**: *text*\n", "bad-yaml"),
    ("a stray document end", b"a: 1\n...\nb: 2\n... x", "bad-yaml"),
    # keys
    ("a key twice", _HEAD.encode() + b"  image: x\n  image: y\n", "duplicate-key"),
    ("a key twice, once quoted", _HEAD.encode() + b"  image: x\n  'image': y\n", "duplicate-key"),
    ("a key twice, far below", _config("{a: {b: {c: 1, c: 2}}}"), "duplicate-key"),
    ("apiVersion twice", (API + API).encode(), "duplicate-key"),
    ("a number as key", _config("{1: x}"), "bad-key"),
    ("true as key", _config("{true: x}"), "bad-key"),
    ("null as key", _config("{null: x}"), "bad-key"),
    ("nothing as key", b"? \n: x\n", "bad-key"),
    ("nothing before a colon", _config("{: x}"), "bad-yaml"),
    ("a list as key", _config("{[a]: x}"), "bad-key"),
    ("a map as key", _config("{{a: b}: x}"), "bad-key"),
    # what is not there
    ("no bytes", b"", "empty-file"),
    ("white space", b" \n\n  \n", "empty-file"),
    ("comments", b"# nothing\n# here\n", "empty-file"),
    ("document marks", b"---\n---\n...\n", "empty-file"),
    ("null", b"null\n", "empty-file"),
    ("a tilde", b"~\n", "empty-file"),
    ("text", b"hello\n", "not-a-mapping"),
    ("a number", b"42\n", "not-a-mapping"),
    ("a list", b"- a\n- b\n", "not-a-mapping"),
    ("a list after an agent", agent("{image: x}", name="bad").encode() + b"---\n- a\n", "not-a-mapping"),
    # meaning
    ("no apiVersion", b"kind: Agent\nmetadata: {name: bad}\nspec: {image: x}\n", "unknown-api-version"),
    ("another version", b"apiVersion: agents.codevald.io/v2\nkind: Agent\n", "unknown-api-version"),
    ("another program's file", b"apiVersion: apps/v1\nkind: Deployment\n", "unknown-api-version"),
    ("apiVersion as a list", b"apiVersion: [a]\nkind: Agent\n", "unknown-api-version"),
    ("an unknown kind", (API + "kind: Agnet\n").encode(), "unknown-kind"),
    ("kind as a map", (API + "kind: {a: b}\n").encode(), "unknown-kind"),
    ("no metadata", (API + "kind: Agent\nspec: {image: x}\n").encode(), "missing-field"),
    ("metadata as text", (API + "kind: Agent\nmetadata: x\nspec: {image: x}\n").encode(), "missing-field"),
    ("a name with look-alikes", agent("{image: x}", name="bаd").encode(), "bad-text"),
    ("a name with bidi controls", agent("{image: x}", name='"bad\\u202egod"').encode(), "bad-text"),
    ("a name that climbs", agent("{image: x}", name="../../etc/passwd").encode(), "bad-text"),
    ("a name with a line feed", agent("{image: x}", name='"bad\\n"').encode(), "bad-text"),
    ("a name of 51 characters", agent("{image: x}", name="b" * 51).encode(), "out-of-range"),
    ("a namespace that climbs", agent("{image: x}", metadata=", namespace: ../x").encode(), "bad-text"),
    ("spec as text", (_HEAD[:-1] + " x\n").encode(), "wrong-type"),
    ("replicas without end", agent("{image: x, replicas: 9000000000}", name="bad").encode(), "out-of-range"),
    (
        "an endless quantity",
        agent(f"{{image: x, resources: {{limits: {{cpu: '{'9' * 5000}'}}}}}}").encode(),
        "bad-quantity",
    ),
    ("an endless duration", agent(f"{{image: x, rollout: {{timeout: {'9' * 9}d}}}}").encode(), "bad-duration"),
]
