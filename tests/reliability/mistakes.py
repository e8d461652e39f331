"""One mistake at a time: in a command line that works, and in the text of a study that does."""

from collections.abc import Iterator

LONG = "x" * 300
ARTEFACTS = ("pool", "tgt", "proxy", "pf", "tf", "scores", "index", "subset", "export", "pool-tokenizer")
PATHS = ["/nope/nope", "nope", "", "{t}/text", "{t}/empty", "/dev/null", "/", ".", LONG, "ünï☃", "{t}/flipped"]
PATHS += [
    "{t}/truncated",
    "{t}/nometa",
    "{t}/badmeta",
    "{t}/oldmeta",
    "{t}/null.bin",
    "~",
    "file:///etc/passwd",
    "a\nb",
]
PATHS += [f"{{b}}/{name}" for name in ARTEFACTS]
DATA = [*PATHS, "{t}/empty.jsonl", "{t}/json.jsonl", "{t}/latin.jsonl", "{t}/deep.jsonl", "{t}/not.parquet", "[", "**"]
DATA += ["{t}/nan.csv", "{t}/noheader.csv", "{b}/src/*.nope", "{b}/src/table.csv", "https://example.com/x.jsonl", "a/b"]
NUMBERS = "-1 0 nan inf -inf 1e30 1e400 1e-300 0.5 1.5 abc 0x10 １ None true".split()
NUMBERS += ["1" + "0" * 12, "9" * 20, "", "9" * 400, "1_0", "- 1", "1,5"]
WORDS = [
    "",
    "xyz",
    "ünï☃",
    "x" * 5000,
    "../x",
    "None",
    "a b",
    "-1",
    "'; DROP",
    "<script>",
    "a\nb",
    "\x1b[31mred",
    "\u202eabc",
]
NAMED = ["", "=", "=x", "x=", "t", "t=", "a=b=c", "../x={b}/tgt", "t={b}/proxy", "t=nope", "id={b}/tf", "domain={b}/tf"]
NAMED += ["t={t}/flipped", "a=nan", "a=-1", "a=inf", "random={b}/subset", "ü={b}/tgt", f"{LONG}={{b}}/tgt", "a=1e400"]
NAMED += ["off-target={b}/tgt", "<b>={b}/tgt", ".={b}/tgt", " ={b}/tgt", "a\x1b={b}/tgt", "a\u202eb={b}/tgt"]
OUTS = ["", "/dev/null", "/proc/x", "{t}/text", "{t}/text/x", LONG, "{b}/pool", "{b}/pool/x", "{b}/src", "{b}"]
OUTS += ["{b}/src/pool.jsonl", "{t}/empty/../../things", "/"]
PATH_OPTIONS = (
    "--pool --selection --examples --features --index --target --scores --models --weights --tokenizer".split()
)
NAMED_OPTIONS = (
    "--targets --target-features --arms --test-sets --recipes --costs --prior --floors --ceilings --mixtures"
)
WRONG = ["[]", "{}", "true", "-1", "0", "1.5", "nan", "inf", "1e30", "1e400", '""', '"x"', '"../../x"', "[1, 2]"]
WRONG += ["1979-05-27", '"a\\u0000b"', f'"{LONG}"', "99999999999999999999", '"\\u001b[31m"', '"\\u202e"', "[[[[]]]]"]
TABLES = {
    "select": 'method = "nope";method = "dsdm | minhash";method = "dsdm:fraction=0.1";method = "";method = "|";'
    'method = "dsdm:";method = "dsdm:x=y";fraction = 0;fraction = 2;fraction = nan;tokens = 0;'
    "tokens = 10000000000000000000",
    "validate": 'controls = ["nope"];controls = [1];controls = "random";random_budgets = [0];'
    "random_budgets = [nan, 1, 2];workers = 0;workers = -3;workers = 1000000;verdict = 1",
    "attribution": 'damping = "x";damping = -1;damping = nan;projection = "x";q = "x";views = ["flip"];k = 0;k = -1;'
    'k = 1000000000000;backend = "x";output = "x"',
    "proxy": 'count = 0;count = 1000000000000;fraction = 0;fraction = nan;size = "x";size = "-1M";size = "0M";'
    'epochs = 0;size = "1e99M";epochs = -1;epochs = nan;batch_size = 0;batch_size = 1000000000;learning_rate = -1.0;'
    'optimizer = "x";learning_rate = 1e30;schedule = "x";precision = "x";size = "hf:nope";size = "os:system";'
    'size = "nope:nope";momentum = 2;weight_decay = -1;accumulate = 0',
    "reference": 'seeds = 1;seeds = 0;seeds = -5;seeds = 1000000;size = ""',
    "pool": 'share = 0;share = 2;holdout = 1;holdout = -1;holdout = nan;bad_rows = "x";ngram = 0;decontaminate = 1;'
    'text = "nope";domain = "nope";id = "source";group = "nope";subset = "x";data = "/nope";data = [];data = ["a", 1]',
    "target.t": 'holdout = 0;holdout = 1;weight = -1;weight = nan;weight = inf;limit = 0;limit = -1;choices = "x";'
    'classify = "prompt";classes = ["a"];gold = "x";prompt = "nope"',
}
TARGETS = [
    '"../x"',
    "id",
    "pooled",
    '"off-target"',
    '""',
    '"a\\nb"',
    f'"{LONG}"',
    '"<b>"',
    '"a|b"',
    '"\\u202ex"',
    '" x"',
]


def in_command(name: str, line: str) -> Iterator[tuple[str, list[str]]]:
    """Each mistake with its name; {b} and {t} in words stand for the base and the folder of broken things."""
    words = line.split()
    for place, word in enumerate(words):
        if not word.startswith("--"):
            continue
        end = next((other for other in range(place + 1, len(words)) if words[other].startswith("--")), len(words))
        for value in _values(name, word, words[place + 1 : end]):
            yield f"{word}={value[:40]!r}", [*words[: place + 1], value, *words[end:]]
        yield f"without {word}", [*words[:place], *words[end:]]
        yield f"{word} without a value", [*words[: place + 1], *words[end:]]
        yield f"{word} twice", [*words, *words[place:end]]
        yield f"misspelt {word}", [*words[:place], word + "s", *words[place + 1 :]]
    yield "an extra word", [*words, "extra"]
    yield "a misspelt command", [words[0] + "x", *words[1:]]
    if words[1:] and "/" in words[1]:
        yield from ((f"positional {value[:40]!r}", [words[0], value, *words[2:]]) for value in DATA)


def _values(name: str, option: str, values: list[str]) -> list[str]:
    if option == "--out":
        return OUTS
    if option == "--data" or (name == "overlap" and option == "--targets"):
        return DATA
    if option in NAMED_OPTIONS.split():
        return NAMED
    if values and _is_number(values[0]):
        return NUMBERS
    return PATHS if option in PATH_OPTIONS else WORDS


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def in_study(text: str) -> Iterator[tuple[str, str]]:
    """The text of study.toml with one mistake each."""
    lines = text.strip().splitlines()
    for number, line in enumerate(lines):
        key, _, value = line.partition(" = ")
        for what, changed in _header(line) if line.startswith("[") else _key(line, key, value) if value else ():
            yield what, "\n".join([*lines[:number], changed, *lines[number + 1 :]])
    for table, settings in TABLES.items():
        for setting in settings.split(";"):
            yield f"[{table}] {setting}", "\n".join(_with(lines, f"[{table}]", setting))
    for target in TARGETS:
        yield f"target {target[:40]}", text.replace("[target.t]", f"[target.{target}]")
    yield "not TOML", "hello"
    yield "empty", ""
    yield "binary", "\x00\x01"
    yield "JSON", '{"name": "x"}'
    yield "a byte order mark", "\ufeff" + text
    yield "nested too deeply", "a = " + "[" * 100_000
    yield "nested tables", "[" + ".".join(["a"] * 5000) + "]"


def _header(line: str) -> Iterator[tuple[str, str]]:
    yield f"without {line}", ""
    yield f"{line} misspelt", line.replace("]", "s]")
    yield f"{line} unclosed", line[:-1]
    yield f"{line} twice", f"{line}\n{line}"
    yield f"{line} as an array of tables", f"[{line}]"
    yield f"{line} nested", line.replace("[", "[other.")


def _key(line: str, key: str, value: str) -> Iterator[tuple[str, str]]:
    yield f"without {key}", ""
    yield f"{key} misspelt", f"{key}x = {value}"
    yield f"{key} in capitals", f"{key.upper()} = {value}"
    yield f"{key} twice", f"{line}\n{line}"
    yield f"{key} unquoted", f"{key} = abc"
    yield f"{key} without a value", f"{key} ="
    yield from ((f"{key} = {wrong[:30]}", f"{key} = {wrong}") for wrong in WRONG)


def _with(lines: list[str], header: str, setting: str) -> Iterator[str]:
    """The lines with `setting` in the table of `header`, in place of what it is now."""
    name, inside = setting.split(" = ")[0], False
    for line in lines if header in lines else [*lines, header]:
        inside = line == header or (inside and not line.startswith("["))
        if not (inside and line.startswith(f"{name} = ")):
            yield line
        if line == header:
            yield setting
