#!/usr/bin/env python3
"""The steps of bench.py in plain PyTorch, each in the fastest straightforward form that we know.

bench.py runs this script in an environment of its own. The script prints one line of JSON: seconds
of a step (the median after the burn-in), threads, and the peak memory in bytes.
"""

import argparse
import json
import resource
import statistics
import time

import torch
import torch.nn.functional as F

BURN_IN = 2  # steps that are not measured


def parameters(outputs, features):
    """Return weights of four blocks of 64 filters, each with scale and shift.

    With `outputs`, the weights and biases of a classifier follow.
    """
    shapes = []
    for channels in (1, 64, 64, 64):
        shapes += [(64, channels, 3, 3), (64,), (64,)]
    if outputs:
        shapes += [(outputs, features), (outputs,)]
    return [torch.full(s, 1.0) if len(s) == 1 else 0.1 * torch.randn(s) for s in shapes]


def forward(params, x, pooled):
    """Return scores, or embeddings if there is no classifier among the weights."""
    stride = 1 if pooled else 2
    for w, gamma, beta in zip(params[0:12:3], params[1:12:3], params[2:12:3]):
        x = F.conv2d(x, w, stride=stride, padding=1)
        x = F.relu(F.batch_norm(x, None, None, gamma, beta, training=True))
        x = F.max_pool2d(x, 2) if pooled else x
    x = x.flatten(1)
    return F.linear(x, *params[12:]) if len(params) > 12 else x


def residual_parameters(outputs):
    """Return weights of four residual blocks of two convolutions, and of a classifier."""
    shapes = []
    for channels in (1, 64, 64, 64):
        for kernel in ((64, channels, 3, 3), (64, 64, 3, 3), (64, channels, 1, 1)):
            shapes += [kernel, (64,), (64,)]
    shapes += [(outputs, 64), (outputs,)]
    return [torch.full(s, 1.0) if len(s) == 1 else 0.1 * torch.randn(s) for s in shapes]


def residual_forward(params, x, _):
    """Return the scores of the residual network `eight` of examples/resnet.py."""

    def normalised(x, w, gamma, beta):
        x = F.conv2d(x, w, padding=w.shape[-1] // 2)
        return F.batch_norm(x, None, None, gamma, beta, training=True)

    for i in range(0, 36, 9):
        h = normalised(F.relu(normalised(x, *params[i : i + 3])), *params[i + 3 : i + 6])
        shortcut = normalised(F.max_pool2d(x, 2), *params[i + 6 : i + 9])
        x = F.relu(F.max_pool2d(h, 2) + shortcut)
    return F.linear(x.flatten(1), *params[36:])


def inner_loop(params, x, y, steps, create_graph, forward=forward):
    """Return the weights after `steps` gradient steps on one task's support."""
    for _ in range(steps):
        loss = F.cross_entropy(forward(params, x, False), y)
        gradient = torch.autograd.grad(loss, params, create_graph=create_graph)
        params = [p - 0.1 * g for p, g in zip(params, gradient)]
        if not create_graph:
            params = [p.detach().requires_grad_() for p in params]
    return params


def images(count, pooled=False):
    """Return random images, in the memory format that is faster with pooling or without."""
    x = torch.rand(count, 1, 28, 28)
    # x.contiguous(memory_format=...) would leave images of one channel as they are
    return x.to(memory_format=torch.channels_last) if pooled else x


def labels(way, each):
    """Return the labels of `each` images of each class, class after class."""
    return torch.arange(way).repeat_interleave(each)


def build(a):
    """Return a function without arguments that takes one step."""
    pooled = a.algorithm in ("protonet", "siamese")
    outputs, features = {"protonet": (None, 64), "siamese": (1, 64)}.get(a.algorithm, (a.way, 256))
    residual = a.algorithm == "residual"
    initial = residual_parameters(a.way) if residual else parameters(outputs, features)
    theta = [p.requires_grad_() for p in initial]
    optimizer = torch.optim.Adam(theta, 1e-3)
    tasks = []
    for _ in range(a.tasks):
        support = images(a.way * a.shot), labels(a.way, a.shot)
        query = images(a.way * a.query), labels(a.way, a.query)
        tasks.append((*support, *query))

    def maml(second_order, forward=forward):
        optimizer.zero_grad()
        for support_x, support_y, query_x, query_y in tasks:
            adapted = inner_loop(theta, support_x, support_y, a.steps, second_order, forward)
            loss = F.cross_entropy(forward(adapted, query_x, False), query_y)
            if second_order:
                loss.backward()
            else:
                for p, g in zip(theta, torch.autograd.grad(loss, adapted)):
                    p.grad = g if p.grad is None else p.grad.add_(g)
        optimizer.step()

    def reptile():
        with_gradient = [p.detach().requires_grad_() for p in theta]
        ends = [inner_loop(with_gradient, x, y, a.steps, False) for x, y, _, _ in tasks]
        with torch.no_grad():
            for p, *adapted in zip(theta, *ends):
                p.add_(sum(w - p for w in adapted), alpha=1 / a.tasks)

    def protonet():
        optimizer.zero_grad()
        z = forward(theta, episode, True)
        prototypes = z[: a.way * a.shot].view(a.way, a.shot, -1).mean(1)
        distance = torch.cdist(z[a.way * a.shot :], prototypes).square()
        F.cross_entropy(-distance, labels(a.way, a.query)).backward()
        optimizer.step()

    def siamese():
        optimizer.zero_grad()
        first, second = forward(theta[:12], episode, True).chunk(2)
        logits = F.linear((first - second).abs(), *theta[12:])[:, 0]
        F.binary_cross_entropy_with_logits(logits, (torch.arange(a.way) % 2).float()).backward()
        optimizer.step()

    def evaluate():
        for support_x, support_y, query_x, query_y in tasks:
            adapted = inner_loop(theta, support_x, support_y, a.steps, False)
            with torch.no_grad():
                (forward(adapted, query_x, False).argmax(1) == query_y).float().mean().item()

    if pooled:
        episode = images(a.way * (a.shot + a.query), True)
    steps = {
        "maml": lambda: maml(True),
        "residual": lambda: maml(True, residual_forward),
        "fomaml": lambda: maml(False),
        "reptile": reptile,
        "protonet": protonet,
        "siamese": siamese,
        "evaluate": evaluate,
    }
    return steps[a.algorithm]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    methods = ["maml", "residual", "fomaml", "reptile", "protonet", "siamese", "evaluate"]
    parser.add_argument("algorithm", choices=methods)
    for name in ("way", "shot", "query", "steps", "tasks", "repeats"):
        parser.add_argument(f"--{name}", type=int, required=True)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    step = build(arguments)
    seconds = []
    for _ in range(BURN_IN + arguments.repeats):
        start = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - start)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    measured = {
        "seconds": statistics.median(seconds[BURN_IN:]),
        "threads": torch.get_num_threads(),
        "memory": memory,
    }
    print(json.dumps(measured))


if __name__ == "__main__":
    main()
