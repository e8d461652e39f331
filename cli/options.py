"""What every command that trains offers: how models of any size are set up, and what saves memory and time."""

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, TypeVar, cast

from thresher.choices import Parametrization, Precision
from thresher.cli.command import Command

if TYPE_CHECKING:
    from thresher.proxies.settings import ModelSettings

Settings = TypeVar("Settings")


@dataclass(frozen=True, kw_only=True)
class ModelOptions(Command):
    """The options of every command that trains."""

    parametrization: Parametrization | None = None
    """Of the ladder: completep (its rate holds for every width and depth) or standard; None: completep."""
    precision: Precision | None = None
    """float32 or bf16; None: bf16 where the chip has it."""
    eps_root: float | None = None
    """What AdamW adds inside of its root (1e-6), so that metagradients can go back through the training."""
    accumulate: int | None = None
    """A batch goes through the model in so many parts, for memory; the result is the whole batch's."""
    activation_checkpointing: bool = False
    """Compute activations twice instead of keeping them, for memory."""
    compile: bool = False
    """Through torch.compile."""
    keep_optimizer: bool = False
    """Keep the optimiser's state at the end too, whose second moments the scorer trackstar scales gradients by."""
    shuffle_sequences: bool = True
    """Of packed text: permute its sequences, so that a batch is of many documents and not of a few neighbours."""

    def model_options(self) -> dict[str, Any]:
        """By the names of a study's model table; None for what is off."""
        return {
            "parametrization": self.parametrization,
            "precision": self.precision,
            "eps_root": self.eps_root or None,
            "accumulate": self.accumulate,
            "activation_checkpointing": self.activation_checkpointing or None,
            "compile": self.compile or None,
            "keep_optimizer": self.keep_optimizer or None,
            "shuffle_sequences": None if self.shuffle_sequences else False,
        }

    def model_settings(self, size: str, **others: Any) -> "ModelSettings":
        """What a model of `size` is asked to be, by these options, `others`, and the command's own of the same names.

        So every option of this class reaches the models of every command that has it.
        """
        from thresher.proxies.settings import ModelSettings

        return settings_of(self, ModelSettings, size=size, **{**self.model_options(), **others})


def settings_of(command: Command, kind: type[Settings], **others: Any) -> Settings:
    """The dataclass `kind` of plain settings, from the options of `command` with the same names and from `others`."""
    names = {field.name for field in fields(command)} & {field.name for field in fields(cast(Any, kind))}
    return kind(**{name: getattr(command, name) for name in names - others.keys()}, **others)
