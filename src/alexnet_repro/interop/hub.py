"""The Hugging Face hub: a classifier that loads from, and saves to, a folder or a repository."""

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
