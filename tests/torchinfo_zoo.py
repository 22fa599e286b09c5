"""The architectures that torchinfo's own tests look at, rebuilt: what is odd about each is in its name."""

from collections import OrderedDict
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import log_softmax, max_pool2d, relu

from tests.traces import Forward

Example = tuple[nn.Module, tuple[Tensor, ...]]


def zeros(*shape: int) -> tuple[Tensor, ...]:
    return (torch.zeros(*shape),)


def linear() -> Example:
    return nn.Sequential(nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 1)), zeros(
        8, 128
    )


def single_input() -> Example:
    layers = (nn.Conv2d(1, 10, 5), nn.Conv2d(10, 20, 5), nn.Dropout2d(0.3), nn.Linear(320, 50), nn.Linear(50, 10))

    def forward(self: Forward, x: Tensor) -> Tensor:
        first, second, drop, wide, narrow = self.children_
        x = relu(max_pool2d(first(x), 2))
        x = relu(max_pool2d(drop(second(x)), 2)).view(-1, 320)
        return log_softmax(narrow(relu(wide(x))), dim=1)

    return Forward(forward, *layers), zeros(2, 1, 28, 28)


def two_inputs_of_two_types() -> Example:
    layers = (nn.Linear(300, 50), nn.Linear(50, 10), nn.Linear(300, 50), nn.Linear(50, 10))

    def forward(self: Forward, x: Tensor, y: Tensor) -> Tensor:
        a, b, c, d = self.children_
        return log_softmax(torch.cat((b(relu(a(x))), d(relu(c(y.float()))))), dim=1)

    return Forward(forward, *layers), (torch.zeros(1, 300), torch.zeros(1, 300, dtype=torch.int64))


def lstm() -> Example:
    def forward(self: Forward, x: Tensor) -> tuple[Tensor, object]:
        embedding, encoder, decoder = self.children_
        out, hidden = encoder(embedding(x))
        out = decoder(out)
        return out.view(-1, out.size(2)), hidden

    layers = (nn.Embedding(20, 300), nn.LSTM(300, 512, num_layers=2), nn.Linear(512, 20))
    return Forward(forward, *layers), (torch.zeros(100, 1, dtype=torch.int64),)


def called_six_times() -> Example:
    def forward(self: Forward, x: Tensor) -> Tensor:
        for _ in range(6):
            x = self.children_[0](x)
        return x

    return Forward(forward, nn.Conv2d(64, 64, 3, 1, 1)), zeros(1, 64, 64, 64)


def one_linear_four_times() -> Example:
    layer = nn.Linear(10, 10)
    return nn.Sequential(*[part for _ in range(4) for part in (layer, nn.ReLU())]), zeros(2, 10)


def one_linear_beside_its_sequential() -> Example:
    layer = nn.Linear(10, 10)
    chain = nn.Sequential(*[part for _ in range(4) for part in (layer, nn.ReLU())])
    return Forward(lambda self, x: self.children_[1](x), layer, chain), zeros(2, 10)


def one_relu_many_times() -> Example:
    again = nn.ReLU()
    layers: list[nn.Module] = [nn.ReflectionPad2d(3), nn.Conv2d(4, 1, 1), nn.BatchNorm2d(1), again]
    for i in range(3):
        layers += [nn.Conv2d(2**i, 2 ** (i + 1), 1, stride=2, padding=1), nn.BatchNorm2d(2 ** (i + 1)), again]
    return nn.Sequential(*layers), zeros(4, 4, 64, 64)


def siamese() -> Example:
    convolutions = (nn.Conv2d(1, 64, 10), nn.Conv2d(64, 128, 7), nn.Conv2d(128, 128, 4), nn.Conv2d(128, 256, 4))

    def forward(self: Forward, x: Tensor, y: Tensor) -> Tensor:
        *convs, pool, wide, narrow, drop = self.children_
        for layer in convs:
            x, y = pool(relu(layer(x))), pool(relu(layer(y)))
        x, y = wide(x.flatten(1)), wide(y.flatten(1))
        return torch.sigmoid(narrow(drop(torch.abs(x - y))))

    rest = (nn.MaxPool2d(2, 2), nn.Linear(256, 4096), nn.Linear(4096, 1), nn.Dropout())
    return Forward(forward, *convolutions, *rest), (torch.zeros(1, 1, 88, 88), torch.zeros(1, 1, 88, 88))


def returns_a_dict() -> Example:
    inner = Forward(lambda self, x: {"conv": (y := self.children_[0](x)), "out": relu(y)}, nn.Conv2d(1, 10, 5))
    return Forward(lambda self, x: self.children_[0](x), inner), zeros(1, 1, 28, 28)


class Parameters(nn.Module):
    """Parameters of a module that has children too."""

    def __init__(self, forward: Callable[["Parameters", Tensor], Tensor], *children: nn.Module, **shapes: int) -> None:
        super().__init__()
        for name, size in shapes.items():
            self.register_parameter(name, nn.Parameter(torch.zeros(size)))
        self.blocks = nn.ModuleList(children)
        self._forward = forward

    def forward(self, x: Tensor) -> Tensor:
        return self._forward(self, x)


def parameters_beside_layers() -> Example:
    inside = Parameters(lambda self, x: self.blocks[0](x) * self.own, nn.Linear(1, 1), own=1)
    outside = Parameters(lambda self, x: self.blocks[1](self.blocks[0](x)) * self.own, nn.Linear(2, 1), inside, own=2)
    return outside, zeros(2, 2)


def only_parameters() -> Example:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w = nn.Parameter(torch.zeros(10))
            self.b = nn.Parameter(torch.zeros(10), requires_grad=False)

        def forward(self, x: Tensor) -> Tensor:
            return self.w * x + self.b

    return Net(), zeros(1, 10)


def parameter_list() -> Example:
    weights = nn.ParameterList([nn.Parameter(torch.zeros(100, 100)), nn.Parameter(torch.zeros(100, 200))])
    return Forward(lambda self, x: x @ self.children_[0][0] + x @ self.children_[0][1][:, :100], weights), zeros(2, 100)


def matrix_and_layer() -> Example:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Parameter(torch.zeros(128, 64))
            self.b = nn.Parameter(torch.zeros(64))
            self.fc2 = nn.Linear(64, 32)

        def forward(self, x: Tensor) -> Tensor:
            return self.fc2(torch.mm(x, self.a) + self.b)

    return Net(), zeros(4, 128)


def container_of_containers() -> Example:
    child = Forward(
        lambda self, x: self.children_[0][1](self.children_[0][0](self.children_[1](self.children_[0](x)))),
        nn.Sequential(nn.Linear(5, 5), nn.Linear(5, 5)),
        nn.Linear(5, 5),
    )
    layers = nn.ModuleList([nn.Linear(5, 5), child, nn.Linear(5, 5)])

    def forward(self: Forward, x: Tensor) -> Tensor:
        for layer in self.children_[0]:
            x = layer(x)
        return x

    return Forward(forward, layers), zeros(1, 5)


def autoencoder_with_indices() -> Example:
    def forward(self: Forward, x: Tensor) -> Tensor:
        encoder, pool, unpool, decoder = self.children_
        x = encoder(x)
        small, indices = pool(x)
        return decoder(unpool(small, indices=indices, output_size=x.size()))

    return Forward(
        forward,
        nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU()),
        nn.MaxPool2d(2, 2, return_indices=True),
        nn.MaxUnpool2d(2, 2),
        nn.Sequential(nn.Conv2d(16, 3, 3, padding=1), nn.ReLU()),
    ), zeros(1, 3, 64, 64)


def mixed_trainable() -> Example:
    free, partly, frozen = nn.Conv1d(1, 1, 1), nn.Conv1d(1, 1, 1), nn.Conv1d(1, 1, 1)
    for parameter in (partly.bias, frozen.weight, frozen.bias):
        assert parameter is not None
        parameter.requires_grad = False
    return nn.Sequential(free, partly, frozen, nn.Dropout()), zeros(1, 1, 1)


def lists_of_blocks() -> Example:
    blocks = [
        nn.Sequential(OrderedDict(conv=nn.Conv1d(1, 1, 1), relu=nn.ReLU(), pool=nn.MaxPool1d(1))) for _ in range(5)
    ]
    return nn.Sequential(*blocks), zeros(1, 1, 1)


def dicts_of_layers() -> Example:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Conv2d(3, 8, 5, padding="same")
            self.block = nn.ModuleDict({f"conv{i}": nn.Conv2d(8, 8, 3, padding="same", dilation=2**i) for i in (1, 2)})
            self.never = nn.ModuleDict({"prelu": nn.PReLU()})

        def forward(self, x: Tensor) -> Tensor:
            x = torch.relu(self.first(x))
            for layer in self.block.values():
                x = torch.relu(layer(x))
            return x

    return Net(), zeros(2, 3, 32, 32)


def lstm_cell_in_a_loop() -> Example:
    def forward(self: Forward, x: Tensor) -> Tensor:
        cell, tanh = self.children_
        h = c = torch.zeros(x.shape[0], 2, device=x.device)
        for _ in range(4):
            h, c = cell(x, (h, c))
            h = tanh(h)
        return h

    return Forward(forward, nn.LSTMCell(3, 2), nn.Tanh()), zeros(2, 3)


def tied() -> Example:
    embedding, head = nn.Embedding(20, 8), nn.Linear(8, 20)
    head.weight = embedding.weight
    return nn.Sequential(embedding, head), (torch.zeros(1, 3, dtype=torch.int64),)


SAME = (
    linear, single_input, two_inputs_of_two_types, lstm, called_six_times, one_linear_four_times,
    one_linear_beside_its_sequential, one_relu_many_times, siamese, returns_a_dict, parameters_beside_layers,
    only_parameters, parameter_list, matrix_and_layer, container_of_containers, autoencoder_with_indices,
    mixed_trainable, lists_of_blocks, dicts_of_layers, lstm_cell_in_a_loop,
)  # fmt: skip
"""Where torchinfo and this package count the same."""
