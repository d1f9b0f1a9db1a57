"""The Hugging Face hub: a classifier that loads from, and saves to, a folder or a repository."""

from typing import Any, Self

from safetensors import SafetensorError, safe_open

from alexnet_repro.base.errors import UsageError, one_line
from alexnet_repro.interop.classifier import Classifier

try:
    from huggingface_hub import PyTorchModelHubMixin
except ImportError as error:
    raise ImportError(
        "HubClassifier: huggingface_hub is not installed; pip install 'alexnet-repro[export]'"
    ) from error


class HubClassifier(
    Classifier,
    PyTorchModelHubMixin,
    library_name="alexnet-repro",
    tags=["alexnet", "image-classification"],
    license="bsd-3-clause",
):
    """A :class:`Classifier` with ``from_pretrained``, ``save_pretrained`` and ``push_to_hub``.

    ``from_pretrained`` takes the folder that ``alexnet export safetensors`` wrote, or the
    name of a repository that holds one. Nothing is uploaded unless ``push_to_hub`` is called.
    """

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: Any, **options: Any) -> Self:
        """A classifier out of a folder, or of a repository, with all of its weights.

        Raises:
            UsageError: if it is not what ``alexnet export safetensors`` wrote, or damaged.
        """
        try:
            return super().from_pretrained(pretrained_model_name_or_path, **options)
        except (
            ArithmeticError,
            AttributeError,
            LookupError,
            FileNotFoundError,
            RuntimeError,
            SafetensorError,
            TypeError,
            ValueError,
        ) as error:
            raise UsageError(
                f"{pretrained_model_name_or_path}: not what alexnet export safetensors writes, or "
                f"damaged ({one_line(error)})"
            ) from error

    @classmethod
    def _load_as_safetensor(cls, model: Self, model_file: str, *arguments: Any) -> Self:  # type: ignore[override]
        # The file has the mean image of whole images, too, so that it is a checkpoint: "strict"
        # would refuse it, and what is missing nobody would tell.
        with safe_open(model_file, "pt") as file:
            missing = model.state_dict().keys() - set(file.keys())
        if missing:
            raise ValueError(f"it has no {min(missing)}")
        loaded: Self = super()._load_as_safetensor(model, model_file, *arguments)
        return loaded
