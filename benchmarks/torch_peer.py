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


def parameters(outputs, features, channels=1):
    """Return weights of four blocks of 64 filters, each with scale and shift.

    With `outputs`, the weights and biases of a classifier follow.
    """
    shapes = []
    for inputs in (channels, 64, 64, 64):
        shapes += [(64, inputs, 3, 3), (64,), (64,)]
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


KOCH = ((10, 64), (7, 128), (4, 128), (4, 256))  # kernels and filters of the convolutions
DECAY = (2e-4, 2e-4, 2e-4, 2e-4, 1e-3)  # of the weights of each layer


def koch_parameters():
    """Return weights and biases of Koch's network, and of the weighted distance."""
    shapes, channels = [], 1
    for kernel, filters in KOCH:
        shapes += [(filters, channels, kernel, kernel), (filters,)]
        channels = filters
    shapes += [(4096, 9216), (4096,), (1, 4096), (1,)]
    return [torch.full(s, 0.5) if len(s) == 1 else 0.01 * torch.randn(s) for s in shapes]


def koch_forward(params, x):
    """Return the embeddings of Koch's network."""
    for i in range(0, 8, 2):
        x = F.relu(F.conv2d(x, params[i], params[i + 1]))
        x = F.max_pool2d(x, 2) if i < 6 else x
    return torch.sigmoid(F.linear(x.flatten(1), params[8], params[9]))


def inner_loop(params, x, y, steps, create_graph, forward=forward):
    """Return the weights after `steps` gradient steps on one task's support."""
    for _ in range(steps):
        loss = F.cross_entropy(forward(params, x, False), y)
        gradient = torch.autograd.grad(loss, params, create_graph=create_graph)
        params = [p - 0.1 * g for p, g in zip(params, gradient)]
        if not create_graph:
            params = [p.detach().requires_grad_() for p in params]
    return params


def images(count, size, channels, pooled=False):
    """Return random images, in the memory format that is faster with pooling or without."""
    x = torch.rand(count, channels, size, size)
    # x.contiguous(memory_format=...) would leave images of one channel as they are
    return x.to(memory_format=torch.channels_last) if pooled else x


def labels(way, each):
    """Return the labels of `each` images of each class, class after class."""
    return torch.arange(way).repeat_interleave(each)


def functional_loss(steps, second_order, forward):
    """Return the loss of a task's queries as a function of weights, for torch.func."""

    def support_loss(params, x, y):
        return F.cross_entropy(forward(params, x, False), y)

    def adapt(params, x, y):
        for _ in range(steps):
            gradient = torch.func.grad(support_loss)(params, x, y)
            if not second_order:
                gradient = [g.detach() for g in gradient]
            params = [p - 0.1 * g for p, g in zip(params, gradient)]
        return params

    def task_loss(params, support_x, support_y, query_x, query_y):
        return support_loss(adapt(params, support_x, support_y), query_x, query_y)

    return task_loss, adapt


def build(a):
    """Return a function without arguments that takes one step."""
    pooled, koch = a.algorithm in ("protonet", "siamese"), a.algorithm == "koch"
    features = 64 if pooled else 64 * (-(-a.size // 16)) ** 2  # of an embedding
    outputs = {"protonet": None, "siamese": 1}.get(a.algorithm, a.way)
    residual = a.algorithm == "residual"
    network = residual_forward if residual else forward
    initial = parameters(outputs, features, a.channels)
    if residual or koch:
        initial = koch_parameters() if koch else residual_parameters(a.way)
    theta = [p.requires_grad_() for p in initial]
    optimizer = torch.optim.Adam(theta, 1e-3)
    tasks = []
    for _ in range(a.tasks):
        support = images(a.way * a.shot, a.size, a.channels), labels(a.way, a.shot)
        query = images(a.way * a.query, a.size, a.channels), labels(a.way, a.query)
        tasks.append((*support, *query))
    task_loss, adapt = functional_loss(a.steps, a.algorithm != "fomaml", network)
    stacked = [torch.stack(parts) for parts in zip(*tasks)] if tasks else []

    def meta_gradient():
        """Return the gradient of each task, by the form that was asked for."""
        if a.form == "vmap":
            each = torch.func.vmap(torch.func.grad(task_loss), (None, 0, 0, 0, 0))
            return [g.sum(0) for g in each([p.detach() for p in theta], *stacked)]
        found = [compiled_gradient([p.detach() for p in theta], *task) for task in tasks]
        return [sum(g) for g in zip(*found)]

    def maml():
        optimizer.zero_grad()
        if a.form != "eager":
            for p, g in zip(theta, meta_gradient()):
                p.grad = g
            return optimizer.step()
        second_order = a.algorithm != "fomaml"
        for support_x, support_y, query_x, query_y in tasks:
            adapted = inner_loop(theta, support_x, support_y, a.steps, second_order, network)
            loss = F.cross_entropy(network(adapted, query_x, False), query_y)
            if second_order:
                loss.backward()
            else:
                for p, g in zip(theta, torch.autograd.grad(loss, adapted)):
                    p.grad = g if p.grad is None else p.grad.add_(g)
        optimizer.step()

    def ends():
        """Return the adapted weights of each task."""
        params = [p.detach().requires_grad_(a.form == "eager") for p in theta]
        if a.form == "vmap":
            found = torch.func.vmap(adapt, (None, 0, 0))(params, *stacked[:2])
            return list(zip(*(p.unbind() for p in found)))
        loop = compiled_loop if a.form == "compile" else eager_loop
        return [loop(params, x, y) for x, y, _, _ in tasks]

    def eager_loop(params, x, y):
        return inner_loop(params, x, y, a.steps, False)

    def reptile():
        found = ends()
        with torch.no_grad():
            for p, *adapted in zip(theta, *found):
                p.add_(sum(w - p for w in adapted), alpha=1 / a.tasks)

    def protonet_loss():
        z = forward(theta, episode, True)
        prototypes = z[: a.way * a.shot].view(a.way, a.shot, -1).mean(1)
        distance = torch.cdist(z[a.way * a.shot :], prototypes).square()
        return F.cross_entropy(-distance, labels(a.way, a.query))

    def siamese_loss():
        first, second = forward(theta[:12], episode, True).chunk(2)
        logits = F.linear((first - second).abs(), *theta[12:])[:, 0]
        return F.binary_cross_entropy_with_logits(logits, (torch.arange(a.way) % 2).float())

    def koch_loss():
        first, second = koch_forward(theta[:10], episode).chunk(2)
        logits = F.linear((first - second).abs(), *theta[10:])[:, 0]
        decay = sum(k * w.square().sum() for k, w in zip(DECAY, theta[0:10:2]))
        is_same = (torch.arange(a.way) % 2).float()
        return F.binary_cross_entropy_with_logits(logits, is_same) + decay

    def metric():
        optimizer.zero_grad()
        metric_loss().backward()
        optimizer.step()

    def evaluate():
        for (_, _, query_x, query_y), adapted in zip(tasks, ends()):
            with torch.no_grad():
                (forward(adapted, query_x, False).argmax(1) == query_y).float().mean().item()

    if pooled or koch:
        episode = images(a.way * (a.shot + a.query), a.size, a.channels, True)
    losses = {"protonet": protonet_loss, "siamese": siamese_loss, "koch": koch_loss}
    metric_loss = losses.get(a.algorithm)
    if a.form == "compile":
        compiled_gradient = torch.compile(torch.func.grad(task_loss))
        compiled_loop = torch.compile(adapt)
        metric_loss = torch.compile(metric_loss) if metric_loss else None
    steps = {"reptile": reptile, "evaluate": evaluate, **dict.fromkeys(losses, metric)}
    return steps.get(a.algorithm, maml)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    methods = ["maml", "residual", "fomaml", "reptile", "protonet", "siamese", "koch", "evaluate"]
    parser.add_argument("algorithm", choices=methods)
    for name in ("way", "shot", "query", "steps", "tasks", "repeats"):
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("--size", type=int, default=28, help="side of the images, in pixels")
    parser.add_argument("--channels", type=int, default=1, help="of the images")
    parser.add_argument(
        "--form",
        choices=["eager", "vmap", "compile"],
        default="eager",
        help="plain PyTorch, torch.func over all tasks at once, or torch.compile (needs a C++"
        " compiler); default: %(default)s, see README.md for which is the fastest",
    )
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
