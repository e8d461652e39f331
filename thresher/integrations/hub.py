"""An exported selection as a data set repository of the Hugging Face hub: laid out, with a card, and pushed."""

import shutil
import tempfile
from pathlib import Path

from huggingface_hub import DatasetCardData, HfApi
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id

from thresher.api.handle import Handle, Source
from thresher.artifacts import Artifact
from thresher.errors import InputError

FORMATS = ("parquet", "jsonl", "jsonl.zst")
"""Of exports that the hub shows and `datasets` loads."""
SIZES = (
    (10**3, "n<1K"),
    (10**4, "1K<n<10K"),
    (10**5, "10K<n<100K"),
    (10**6, "100K<n<1M"),
    (10**7, "1M<n<10M"),
    (10**8, "10M<n<100M"),
    (10**9, "100M<n<1B"),
    (10**10, "1B<n<10B"),
    (10**11, "10B<n<100B"),
)
"""The hub's words for how many rows a data set has: fewer than this."""

TAG = "thresher"
"""On the card of what is pushed."""


def push_to_hub(
    export: Source,
    repository: str,
    *,
    private: bool = True,
    license: str | None = None,
    token: str | None = None,
    endpoint: str | None = None,
) -> str:
    """Upload what `thresher select --export` wrote as the data set OWNER/NAME, in one commit; its address.

    private   whether a new repository is for you alone; one that is there stays as it is, and loses the shards of an
              earlier push
    license   of the data, by the hub's word for it (`odc-by`, ...); None: the card says none
    token     None: the one that `hf auth login` stored, or HF_TOKEN
    endpoint  None: the public hub, or HF_ENDPOINT

    Raises InputError for an export that is no table, a name that cannot be, a repository with
    other files in it, and what the hub refuses.
    """
    artifact = check_push(export, repository)
    with tempfile.TemporaryDirectory() as folder:
        write_repository(artifact, Path(folder), repository, license=license)
        api = HfApi(endpoint=endpoint, token=token)
        try:
            _refuse_others(api, repository)
            url = api.create_repo(repository, repo_type="dataset", private=private, exist_ok=True)
            message = f"Selection by {_method(artifact)}, {artifact.facts['num_rows']} rows"
            api.upload_folder(
                repo_id=repository,
                repo_type="dataset",
                folder_path=folder,
                commit_message=message,
                delete_patterns="data/*",  # of an earlier export: else its shards would be loaded too
            )
        except InputError:
            raise
        except Exception as error:  # of the hub, the network and whatever client huggingface_hub speaks by
            said = getattr(error, "server_message", None) or str(error)
            reason = " ".join(said.split())[:160]
            raise InputError(
                f"{repository} could not be pushed ({reason}); log in by hf auth login, check the name"
            ) from error
    return str(url)


def _refuse_others(api: HfApi, repository: str) -> None:
    """Raise InputError for a repository with files in it that no export of ours was pushed to."""
    if api.repo_exists(repository, repo_type="dataset"):
        info = api.dataset_info(repository)
        files = {file.rfilename for file in info.siblings or []} - {".gitattributes"}
        if files and TAG not in (info.tags or []):
            raise InputError(
                f"{repository} holds other files ({sorted(files)[0]}, ...), which a push would join; push "
                "to a repository that is new"
            )


def check_push(export: Source, repository: str) -> Artifact:
    """The export's artefact. Raises InputError for what cannot be pushed, before anything is."""
    artifact = Handle.of(export).artifact
    if artifact.kind != "export" or artifact.facts.get("format") not in FORMATS:
        kind = artifact.facts.get("format", artifact.kind)
        raise InputError(f"{artifact.path} holds {kind!r}; push an export as {', '.join(FORMATS)} (select --export)")
    check_repository(repository)
    return artifact


def check_repository(repository: str) -> None:
    """Raise InputError for a name that no repository of the hub can have."""
    try:
        validate_repo_id(repository)
    except HFValidationError as error:
        raise InputError(f"repository {repository!r} cannot be ({error}); write OWNER/NAME") from None


def write_repository(export: Source, folder: Path, repository: str, *, license: str | None = None) -> None:
    """The files of the repository: `data/train-*`, and `README.md`, which is the card under the hub's own header."""
    artifact = Handle.of(export).artifact
    shards = sorted(name for name in artifact.meta["files"] if name.startswith("kept-"))
    (folder / "data").mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(shards):
        ending = name.partition(".")[2]
        shard = folder / "data" / f"train-{number:05d}-of-{len(shards):05d}.{ending}"
        shutil.copyfile(artifact.file(name), shard)
    num_rows = artifact.facts["num_rows"]
    size = next((word for limit, word in SIZES if num_rows < limit), "100B<n<1T")
    header = DatasetCardData(
        license=license,
        pretty_name=repository.rpartition("/")[2],
        size_categories=[size],
        tags=[TAG, "data-selection"],
        configs=[{"config_name": "default", "data_files": [{"split": "train", "path": "data/train-*"}]}],
    )
    use = f'```python\nimport datasets\n\ndata = datasets.load_dataset("{repository}", split="train")\n```\n'
    card = artifact.file("card.md").read_text(encoding="utf-8")
    (folder / "README.md").write_text(f"---\n{header.to_yaml()}\n---\n\n{card}\n## Load\n\n{use}", encoding="utf-8")


def _method(artifact: Artifact) -> str:
    """The first line of the card: what the selection was made by."""
    title = artifact.file("card.md").read_text(encoding="utf-8").partition("\n")[0]
    return title.removeprefix("# Selection by ").replace("\\", "")
