"""What an operation does with the axes of its tensors, in terms that all backends share.

A backend's vocabulary gives one of these for each operation that it knows; `attnscope.discovery` says what follows from
them. Axes are counted from 0, and never from the end.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Elementwise:
    """Combines its inputs element by element, broadcasting from the right.

    Attributes:
        product: Whether it multiplies them.
        inputs: How many of the inputs take part; what follows are settings. All where None.
        along: The axis that a softmax, or the logarithm of one, runs along; None for everything else.
    """

    product: bool = False
    inputs: int | None = None
    along: int | None = None


@dataclass(frozen=True)
class Contraction:
    """Multiplies two tensors and sums over the axes whose labels the output lacks, as einsum does.

    Attributes:
        first: Labels of the first input's axes.
        second: Labels of the second input's axes.
        output: Labels of the output's axes.
    """

    first: tuple[str, ...]
    second: tuple[str, ...]
    output: tuple[str, ...]


@dataclass(frozen=True)
class Moved:
    """Hands on each axis of the first input as it is.

    Attributes:
        targets: For each axis of the input the axis of the output; None for one that is dropped. An axis of the output
            that has no source is new, and one that has grown from size 1 repeats it.
        summed: Axes that are dropped by summing or the like over them.
    """

    targets: tuple[int | None, ...]
    summed: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Reshaped:
    """Keeps the elements of the first input in their order under another shape."""


@dataclass(frozen=True)
class Sliced:
    """Takes a part of the first input, or pads it.

    Attributes:
        starts: For each axis the first position that is taken; negative for padding in front; None where not known.
        steps: For each axis the distance of the positions; -1 where the axis is turned round.
        wraps: Whether it goes on from the first position behind the last: a roll.
    """

    starts: tuple[int | None, ...]
    steps: tuple[int, ...]
    wraps: bool = False


@dataclass(frozen=True)
class Taken:
    """Takes one position of an axis of the first input, and drops that axis.

    Attributes:
        axis: Which axis.
        position: Which position; None where it is not known.
    """

    axis: int
    position: int | None


@dataclass(frozen=True)
class Tiled:
    """Puts copies of the first input behind each other.

    Attributes:
        times: For each axis of the output how often; axes in front that the input lacks are new.
    """

    times: tuple[int, ...]


@dataclass(frozen=True)
class Joined:
    """Puts its inputs behind each other.

    Attributes:
        axis: Along which axis of the output.
        stacked: Whether that axis is new, so that each input is one position of it.
        inputs: How many of the inputs take part; all where None.
    """

    axis: int
    stacked: bool = False
    inputs: int | None = None


@dataclass(frozen=True)
class Windowed:
    """A convolution or pooling: each position of the output looks at a window of positions.

    Attributes:
        kept: Axes of the first input that keep their place in the output: the samples, and in pooling the channels.
        windows: For each other axis of the first input that has a counterpart in the output, that axis and the
            distance of the windows.
        units: Axis of the kernel and the axis of the output that it becomes.
        places: Which of the inputs is looked at, and which is the kernel.
    """

    kept: Mapping[int, int]
    windows: Mapping[int, tuple[int, int]]
    units: tuple[int, int] | None = None
    places: tuple[int, int] = (0, 1)


@dataclass(frozen=True)
class Looked:
    """Takes rows of a table by their numbers.

    Attributes:
        table: For each axis of the first input the axis of the output, or None where its positions are chosen.
        numbers: For each axis of the second input the axis of the output, or None.
    """

    table: tuple[int | None, ...]
    numbers: tuple[int | None, ...]


@dataclass(frozen=True)
class Updated:
    """Writes the second input into the first; what comes out has the axes of the first."""


@dataclass(frozen=True)
class Chosen:
    """Picks some of the first input's elements by their size (top-k, arg-max, sort).

    Attributes:
        axis: Along which axis.
        keeps: Whether the output has that axis, with other positions.
    """

    axis: int
    keeps: bool = True


@dataclass(frozen=True)
class Collected:
    """What the steps of a loop gave, behind each other along a new first axis.

    The first input is what one step gives; the others are what the loop runs over along their first axes. A loop that
    runs from the last position to the first puts what it gives at the same positions.
    """


@dataclass(frozen=True)
class Unknown:
    """An operation that the vocabulary lacks."""


Operation = (
    Elementwise
    | Contraction
    | Moved
    | Reshaped
    | Sliced
    | Taken
    | Tiled
    | Joined
    | Windowed
    | Looked
    | Updated
    | Chosen
    | Collected
    | Unknown
)
