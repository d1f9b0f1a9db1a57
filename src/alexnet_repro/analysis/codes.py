"""Short binary codes of features by an autoencoder: what §7.1 proposes and the paper did not do.

"Computing similarity by using Euclidean distance between two 4096-dimensional, real-valued vectors
is inefficient, but it could be made efficient by training an autoencoder to compress these vectors
to short binary codes."
"""

from dataclasses import dataclass
from typing import Any

import lightning as L
import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from alexnet_repro.analysis.features import Vectors
from alexnet_repro.analysis.searches import Codes


@dataclass(frozen=True)
class Autoencoder:
    """Neurons beside the code, noise on its inputs, and how it is trained by Adam."""

    hidden: int
    noise: float
    lr: float
    epochs: int
    batch_size: int


def binary(x: Tensor) -> Tensor:
    """1 for positive numbers and 0 for others; backward as if it had been the logistic function."""
    probability = x.sigmoid()
    return (x > 0).to(x.dtype) + (probability - probability.detach())


class BinaryAutoencoder(L.LightningModule):
    """A deep autoencoder whose middle layer is binary.

    Noise is added to the middle layer's inputs while training, so that they move away from 0 and
    the bits of like images agree (Salakhutdinov & Hinton, *Semantic Hashing*, 2009).

    Args:
        features: numbers of a vector.
        bits: of a code.
        hidden: neurons of the layer on either side of the code.
        noise: standard deviation of the noise.
        lr: learning rate of Adam at the start; it falls to 0 along a cosine.

    Shape: (B, features), each feature of mean 0 and the whole of variance 1 → the same.
    """

    def __init__(self, features: int, bits: int, hidden: int, noise: float, lr: float) -> None:
        super().__init__()
        self.noise, self.lr = noise, lr
        self.encoder = nn.Sequential(
            nn.Linear(features, hidden), nn.ReLU(), nn.Linear(hidden, bits), nn.BatchNorm1d(bits)
        )
        self.decoder = nn.Sequential(
            nn.Linear(bits, hidden), nn.ReLU(), nn.Linear(hidden, features)
        )

    def forward(self, x: Tensor) -> Tensor:
        code = self.encoder(x)
        if self.training:
            code = code + self.noise * torch.randn_like(code)
        decoded: Tensor = self.decoder(binary(code))
        return decoded

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        (x,) = batch
        loss: Tensor = (self(x) - x).square().mean()
        return loss

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.Adam(self.parameters(), self.lr)
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }

    @torch.no_grad()
    def codes(self, x: Tensor) -> Codes:
        """Vectors (B, features) → their codes (B, bits / 8)."""
        codes: Codes = np.packbits(self.eval().encoder(x).numpy() > 0, axis=1)
        return codes


def autoencoder_codes(
    database: Vectors,
    queries: Vectors,
    bits: int,
    seed: int,
    settings: Autoencoder,
    device: str,
) -> tuple[Codes, Codes]:
    """The codes of a database, on which the autoencoder is trained, and of queries.

    Args:
        device: ``cpu``, ``cuda`` or ``mps``.
    """
    mean, scale = database.mean(axis=0), database.std()
    x, asked = (torch.from_numpy((vectors - mean) / scale) for vectors in (database, queries))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = BinaryAutoencoder(x.shape[1], bits, settings.hidden, settings.noise, settings.lr)
        loader = DataLoader(
            TensorDataset(x),
            min(settings.batch_size, len(x)),
            shuffle=True,
            drop_last=True,
        )
        trainer = L.Trainer(
            max_epochs=settings.epochs,
            accelerator=device,
            devices=1,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(model, loader)
    return model.codes(x), model.codes(asked)
