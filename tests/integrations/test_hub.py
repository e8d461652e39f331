"""An export pushed to a hub (a small server that speaks its protocol), and loaded again from what arrived there."""

import base64
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import datasets
import pytest
import yaml

import thresher
from thresher.cli.main import main
from thresher.errors import InputError
from thresher.integrations import push_to_hub


class Hub(BaseHTTPRequestHandler):
    """Creates repositories and takes commits, as far as `HfApi.upload_folder` asks."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"] or 0))
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        if self.headers.get("authorization") != "Bearer hf_test":
            return self.answer({"error": "Invalid credentials"}, 401)
        if self.path == "/api/repos/create":
            self.server.created = json.loads(body)
            name = "{organization}/{name}".format(**self.server.created)
            return self.answer({"url": f"http://{self.headers['Host']}/datasets/{name}"})
        if "/preupload/" in self.path:
            files = json.loads(body)["files"]
            return self.answer({"files": [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False}
                                          for f in files]})  # fmt: skip
        if "/commit/" in self.path:
            for line in map(json.loads, body.decode().splitlines()):
                if line["key"] == "file":
                    file = self.server.folder / line["value"]["path"]
                    file.parent.mkdir(parents=True, exist_ok=True)
                    file.write_bytes(base64.b64decode(line["value"]["content"]))
                elif line["key"] == "deletedFile":
                    (self.server.folder / line["value"]["path"]).unlink()
                elif line["key"] == "header":
                    self.server.message = line["value"]["summary"]
            return self.answer(
                {
                    "commitUrl": f"http://{self.headers['Host']}/datasets/me/subset/commit/1",
                    "commitOid": "1" * 40,
                    "hookOutput": "",
                }
            )
        return self.answer({"warnings": [], "errors": []})

    def do_GET(self):
        if self.headers.get("authorization") != "Bearer hf_test":
            return self.answer({"error": "Invalid credentials"}, 401)
        if not self.server.folder.exists() and not self.server.created:
            return self.answer({"error": "Repository not found"}, 404)
        files = [file for file in self.server.folder.rglob("*") if file.is_file()]
        names = [file.relative_to(self.server.folder).as_posix() for file in files]
        if "/tree/" in self.path:
            return self.answer([{"type": "file", "path": name, "oid": "0" * 40, "size": 1} for name in names])
        siblings = [{"rfilename": name} for name in names]
        return self.answer({"id": "me/subset", "sha": "0" * 40, "siblings": siblings, "tags": self.server.tags})

    def answer(self, value, status=200):
        data = json.dumps(value).encode()
        self.send_response(status)
        if status == 404:
            self.send_header("X-Error-Code", "RepoNotFound")
        if status != 200:
            self.send_header("X-Error-Message", value["error"])
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args):
        pass


@pytest.fixture
def hub(tmp_path):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.folder, server.tags, server.created = tmp_path / "hub", ["thresher"], {}
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def export(corpus, tmp_path):
    def export(form="parquet"):
        pool = tmp_path / "pool"
        thresher.prepare(corpus, out=pool, id="id", domain="source", vocab_size=300)
        command = ["select", "--method", "random:count=12", "--pool", str(pool), "--out", str(tmp_path / "chosen")]
        options = ["--export", str(tmp_path / "export"), "--rows-per-shard", "5", "--format", form, "--quiet"]
        assert main([*command, *options]) == 0
        return tmp_path / "export"

    return export


@pytest.mark.parametrize("form", ["parquet", "jsonl"])
def test_what_is_pushed_loads_as_the_kept_rows_and_its_card_says_how_they_were_chosen(export, hub, tmp_path, form):
    folder = export(form)
    address = f"http://127.0.0.1:{hub.server_port}"
    if form == "parquet":
        (hub.folder / "data").mkdir(parents=True)
        (hub.folder / "data" / "train-00007-of-00008.parquet").write_bytes(b"of an earlier push")
    url = push_to_hub(folder, "me/subset", license="odc-by", token="hf_test", endpoint=address)
    assert url.endswith("datasets/me/subset") and hub.created["type"] == "dataset"
    # By version of huggingface_hub.
    assert hub.created.get("visibility") == "private" or hub.created.get("private") is True
    assert hub.message == "Selection by random:count=12, 12 rows"
    data = datasets.load_dataset(str(hub.folder), split="train", cache_dir=str(tmp_path / "cache"))
    kept = thresher.open(tmp_path / "chosen").table()
    assert data["thresher_id"] == list(kept["id"]) and data["rank"] == list(range(1, 13))
    readme = (hub.folder / "README.md").read_text()
    header = yaml.safe_load(readme.split("---\n")[1])
    assert header["license"] == "odc-by" and header["size_categories"] == ["n<1K"]
    assert header["configs"][0]["data_files"] == [{"split": "train", "path": "data/train-*"}]
    assert readme.split("---\n")[2].strip().startswith("# Selection by random:count=12")
    assert 'load_dataset("me/subset", split="train")' in readme


def test_what_the_hub_refuses_and_what_is_no_table_is_said_in_one_line(export, hub, tmp_path):
    folder = export()
    address = f"http://127.0.0.1:{hub.server_port}"
    with pytest.raises(InputError, match=r"could not be pushed .*Invalid credentials.*log in") as error:
        push_to_hub(folder, "me/subset", token="hf_wrong", endpoint=address)
    assert "\n" not in str(error.value)
    (hub.folder / "data").mkdir(parents=True)
    (hub.folder / "data" / "theirs.csv").write_text("a,b")
    hub.tags = ["somebody"]
    with pytest.raises(InputError, match=r"me/subset holds other files \(data/theirs.csv, ...\)"):
        push_to_hub(folder, "me/subset", token="hf_test", endpoint=address)
    with pytest.raises(InputError, match=r"could not be pushed"):
        push_to_hub(folder, "me/subset", token="hf_test", endpoint="http://127.0.0.1:9")
    with pytest.raises(InputError, match=r"repository 'a/b/c' cannot be .*; write OWNER/NAME"):
        push_to_hub(folder, "a/b/c", token="hf_test", endpoint=address)
    with pytest.raises(InputError, match="holds 'selection'; push an export as"):
        push_to_hub(tmp_path / "chosen", "me/subset", token="hf_test", endpoint=address)
