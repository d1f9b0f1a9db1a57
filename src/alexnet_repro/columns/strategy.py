"""The two-GPU network of §4.2 as a Lightning strategy: a column on each device."""

from datetime import timedelta
from os import PathLike
from typing import Any, Literal

import lightning as L
import torch
import torch.distributed as dist
from lightning.pytorch.strategies import ModelParallelStrategy, Strategy
from torch import Tensor, nn
from torch._dynamo import OptimizedModule
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor
from torchmetrics import Metric

from alexnet_repro.base.build import Count, Positive
from alexnet_repro.base.errors import UsageError
from alexnet_repro.columns.pipeline import ColumnPipeline, own_half, split_parameters
from alexnet_repro.network.alexnet import AlexNet
from alexnet_repro.network.layers import ResponseNorm

COLUMNS = 2


class ColumnPipelineStrategy(ModelParallelStrategy):
    """Trains an :class:`AlexNet` of two columns with each column in a process of its own.

    The LightningModule and the network do not know: parameters become DTensors split along
    dimension 0, the network's forward that of a :class:`ColumnPipeline`, and checkpoints are
    gathered into the whole one, which loads on one device as well.

    With R replicas, 2·R processes form R pairs of columns, each of which trains on its share of
    every batch; the gradient is the mean over the replicas. Ranks 2r and 2r + 1 are the columns of
    replica r.

    Args:
        micro_batches: parts of a batch that flow through the stages one after the other, so that
            one is computed while the other crosses.
        timeout: seconds after which a process that waits for another gives up.
        backend: of torch.distributed: ``auto`` is NCCL for GPUs and gloo for CPUs; gloo also
            carries what GPUs exchange, through the memory of the machine.
    """

    def __init__(
        self,
        micro_batches: Count = 1,
        timeout: Positive = 600,
        backend: Literal["auto", "nccl", "gloo"] = "auto",
    ) -> None:
        super().__init__(
            data_parallel_size="auto",
            tensor_parallel_size=COLUMNS,
            save_distributed_checkpoint=False,
            process_group_backend=None if backend == "auto" else backend,
            timeout=timedelta(seconds=timeout),
        )
        self.micro_batches = micro_batches
        self._under_way: list[tuple[dist.Work, Tensor]] = []

    @property
    def replicas(self) -> int:
        """Pairs of columns, on all nodes together."""
        return self.world_size // COLUMNS

    @property
    def column(self) -> int:
        """0 or 1: the first or the second half of every layer."""
        return self.global_rank % COLUMNS

    def setup_environment(self) -> None:
        # Called for fit and again for test: the parameters stay on the mesh that they are on.
        if self._device_mesh is None:
            Strategy.setup_environment(self)
            self._setup_distributed()
            if self.replicas * COLUMNS != self.world_size:
                raise UsageError(f"{self.world_size} processes cannot be pairs of two columns")
            self._device_mesh = init_device_mesh(
                self.root_device.type,
                (self.replicas, COLUMNS),
                mesh_dim_names=("data_parallel", "columns"),
            )

    def setup(self, trainer: L.Trainer) -> None:
        assert self.lightning_module is not None
        network = the_network(self.lightning_module)
        if not isinstance(network.fc8.weight, DTensor):
            self.lightning_module.to(self.root_device)
            split_parameters(network, self.device_mesh)
            network.forward = ColumnPipeline(network, self.device_mesh, self.micro_batches)  # type: ignore[method-assign]
            self._count_every_image_once()
            if self.replicas > 1:
                for parameter in network.parameters():
                    parameter.register_post_accumulate_grad_hook(self._average)  # type: ignore[no-untyped-call]
        Strategy.setup(self, trainer)
        self.barrier()

    def model_to_device(self) -> None:
        """Nothing: `setup` did so. Moving a DTensor would make another one, without its hook."""

    def load_checkpoint(
        self, checkpoint_path: str | PathLike[str], weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Take this column's half of what any arrangement saved.

        Every process reads its half from the file. Lightning would send the whole from the first
        process to the others, in the order of its memory, which for convolutions in channels-last
        format is not the order in which the others read it.
        """
        checkpoint: dict[str, Any] = torch.load(
            checkpoint_path, mmap=True, map_location="cpu", weights_only=weights_only
        )
        assert self.lightning_module is not None
        split = {
            name: own_half(whole, self.device_mesh)
            for name, whole in checkpoint.pop("state_dict").items()
        }
        self.lightning_module.load_state_dict(split, self.lightning_module.strict_loading)
        # For a test there are no optimizers.
        states = checkpoint["optimizer_states"] if self.optimizers else []
        for optimizer, saved in zip(self.optimizers, states, strict=True):
            saved["state"] = {
                number: {key: own_half(whole, self.device_mesh) for key, whole in state.items()}
                for number, state in saved["state"].items()
            }
            optimizer.load_state_dict(saved)
        return checkpoint

    def _count_every_image_once(self) -> None:
        """Both columns know what became of every image: metrics are summed over replicas only."""
        group = self.device_mesh.get_group("data_parallel")
        for module in self.lightning_module.modules():  # type: ignore[union-attr]
            if isinstance(module, Metric):
                module.process_group = group

    def _average(self, parameter: Tensor) -> None:
        """Start summing a gradient over the replicas, while the rest of the backward runs."""
        assert isinstance(parameter.grad, DTensor)
        gradient = parameter.grad.to_local()
        group = self.device_mesh.get_group("data_parallel")
        work = dist.all_reduce(gradient, group=group, async_op=True)
        assert work is not None
        self._under_way.append((work, gradient))

    def post_backward(self, closure_loss: Tensor) -> None:
        for work, gradient in self._under_way:
            work.wait()
            gradient.div_(self.replicas)
        self._under_way.clear()
        super().post_backward(closure_loss)


def the_network(module: nn.Module) -> AlexNet:
    """The AlexNet within a LightningModule.

    Raises:
        UsageError: if there is none, or it has one column, or normalizes over both at once or
            over batches, or something of it is compiled.
    """
    networks = [m for m in module.modules() if isinstance(m, AlexNet)]
    if len(networks) != 1 or networks[0].columns != COLUMNS:
        raise UsageError(
            "model: ColumnPipelineStrategy trains one AlexNet with columns=2; trainer=auto, cpu, "
            "gpu and ddp train any network"
        )
    if any(m.columns != COLUMNS for m in networks[0].modules() if isinstance(m, ResponseNorm)):
        raise UsageError(
            "model.response_norm.columns=1: Caffe's windows cross from one column to the other, "
            "which two devices cannot; train it with trainer=auto, cpu, gpu or ddp"
        )
    if any(isinstance(m, nn.BatchNorm2d) for m in networks[0].modules()):
        raise UsageError(
            "model.batch_norm=true: batch normalization is not split between columns; train it "
            "with trainer=auto, cpu, gpu or ddp"
        )
    if any(isinstance(m, OptimizedModule) or m._compiled_call_impl for m in module.modules()):
        # What is compiled would compute both columns in each process.
        raise UsageError(
            "ColumnPipelineStrategy does not take what torch.compile made: give it the network as "
            "it is"
        )
    return networks[0]
