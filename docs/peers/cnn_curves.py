#!/usr/bin/env python3
"""Trains a derived network in PyTorch as `dartsc run train` does, to lay the loss curves side by side.

usage: cnn_curves.py DATA [--init-channels 16 --layers 8 --batch-size 64 --epochs 5 --seeds 0,1,2 --threads 1 --out FILE]
       cnn_curves.py DATA --table FILE RUN    the table of both: FILE as written by --out, RUN of dartsc run train --repeats

DATA is an image folder, DATA/{train,test}/<class>/*.{jpg,png} of 32x32 pixels. The recipe is that of the paper's CIFAR
networks: SGD with momentum 0.9 and weight decay 3e-4, gradients clipped to 5, a cosine from 0.025 to 0 by epochs, drop
path that climbs to 0.2, the auxiliary head at 0.4, crops after padding by 4, flips, cutout 16. Pixels are normalised by
mean and deviation of the training images; batches are whole, in a new order each epoch. Weights start as PyTorch starts
them. One JSON line an epoch goes to --out: seed, epoch, train_loss (with the auxiliary head's), train_top1, valid_loss,
valid_top1.

Needs torch, numpy and Pillow.
"""

import argparse
import json
import math
import os
import statistics
import sys
import time

import numpy
from PIL import Image
import torch
from torch import nn
from torch.nn import functional as F

# DARTS_V2 (Liu et al. 2019, figures 4 and 5): two edges a node, (primitive, state).
NORMAL = [
    ("sep_conv_3x3", 0), ("sep_conv_3x3", 1), ("sep_conv_3x3", 0), ("sep_conv_3x3", 1),
    ("sep_conv_3x3", 1), ("skip_connect", 0), ("skip_connect", 0), ("dil_conv_3x3", 2),
]
REDUCE = [
    ("max_pool_3x3", 0), ("max_pool_3x3", 1), ("skip_connect", 2), ("max_pool_3x3", 1),
    ("max_pool_3x3", 0), ("skip_connect", 2), ("skip_connect", 2), ("max_pool_3x3", 1),
]


def relu_conv_norm(inputs, outputs):
    return nn.Sequential(nn.ReLU(), nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs))


def depthwise_separable(channels, stride, dilation):
    depthwise = nn.Conv2d(channels, channels, 3, stride, dilation, dilation, groups=channels, bias=False)
    return [nn.ReLU(), depthwise, nn.Conv2d(channels, channels, 1, bias=False), nn.BatchNorm2d(channels)]


class FactorizedReduce(nn.Module):
    """Halves the image: two pointwise convolutions of stride 2, the second on the image shifted by one pixel."""

    def __init__(self, inputs, outputs):
        super().__init__()
        self.even = nn.Conv2d(inputs, outputs // 2, 1, 2, bias=False)
        self.odd = nn.Conv2d(inputs, outputs // 2, 1, 2, bias=False)
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, x):
        x = F.relu(x)
        return self.norm(torch.cat([self.even(x), self.odd(x[:, :, 1:, 1:])], 1))


def primitive(name, channels, stride):
    if name == "max_pool_3x3":
        return nn.MaxPool2d(3, stride, 1)
    if name == "skip_connect":
        return nn.Identity() if stride == 1 else FactorizedReduce(channels, channels)
    if name == "dil_conv_3x3":
        return nn.Sequential(*depthwise_separable(channels, stride, 2))
    return nn.Sequential(*depthwise_separable(channels, stride, 1), *depthwise_separable(channels, 1, 1))


def drop_path(x, probability):
    """Zeroes whole images of a path, and scales the others up."""
    kept = torch.rand(len(x), 1, 1, 1) >= probability
    return x * kept / (1 - probability)


class Cell(nn.Module):
    """Two states in, four nodes of two edges each, and these joined."""

    def __init__(self, before, last, channels, reduction, after_reduction):
        super().__init__()
        self.edges = REDUCE if reduction else NORMAL
        self.pre0 = (FactorizedReduce if after_reduction else relu_conv_norm)(before, channels)
        self.pre1 = relu_conv_norm(last, channels)
        self.paths = nn.ModuleList(primitive(name, channels, 2 if reduction and state < 2 else 1) for name, state in self.edges)

    def forward(self, before, last, probability):
        states = [self.pre0(before), self.pre1(last)]
        for node in range(len(self.edges) // 2):
            total = 0
            for at in (2 * node, 2 * node + 1):
                y = self.paths[at](states[self.edges[at][1]])
                if self.training and probability > 0 and not isinstance(self.paths[at], nn.Identity):
                    y = drop_path(y, probability)
                total = total + y
            states.append(total)
        return torch.cat(states[-4:], 1)


class Network(nn.Module):
    """The paper's network for 32x32 images, with an auxiliary head after the second reduction."""

    def __init__(self, channels, layers, classes):
        super().__init__()
        before = last = 3 * channels
        self.stem = nn.Sequential(nn.Conv2d(3, last, 3, padding=1, bias=False), nn.BatchNorm2d(last))
        self.cells, self.head_at, after = nn.ModuleList(), 2 * layers // 3, False
        for i in range(layers):
            reduction = i in (layers // 3, 2 * layers // 3)
            channels *= 2 if reduction else 1
            self.cells.append(Cell(before, last, channels, reduction, after))
            before, last, after = last, 4 * channels, reduction
            if i == self.head_at:
                self.head = nn.Sequential(
                    nn.ReLU(), nn.AvgPool2d(5, 3, count_include_pad=False),
                    nn.Conv2d(last, 128, 1, bias=False), nn.BatchNorm2d(128), nn.ReLU(),
                    nn.Conv2d(128, 768, 2, bias=False), nn.BatchNorm2d(768), nn.ReLU(),
                    nn.Flatten(), nn.Linear(768, classes))
        self.classifier = nn.Linear(last, classes)

    def forward(self, x, probability=0.0):
        before = last = self.stem(x)
        auxiliary = None
        for i, cell in enumerate(self.cells):
            before, last = last, cell(before, last, probability)
            if i == self.head_at and self.training:
                auxiliary = self.head(last)
        return self.classifier(last.mean((2, 3))), auxiliary


def read(folder, classes):
    """All images of a folder, f32 [N,3,H,W] in 0..1, and their labels."""
    images, labels = [], []
    for label, name in enumerate(classes):
        for file in sorted(os.listdir(os.path.join(folder, name))):
            images.append(numpy.asarray(Image.open(os.path.join(folder, name, file)).convert("RGB")))
            labels.append(label)
    pixels = torch.from_numpy(numpy.stack(images)).permute(0, 3, 1, 2).float() / 255
    return pixels.contiguous(), torch.tensor(labels)


def augment(pixels, mean, deviation):
    """Crop after padding by 4, flip every other, normalise, cut a square of 16 pixels out."""
    out = torch.empty_like(pixels)
    height, width = pixels.shape[2:]
    padded = F.pad(pixels, (4, 4, 4, 4))
    for i, image in enumerate(padded):
        top, left = torch.randint(9, (2,)).tolist()
        part = image[:, top:top + height, left:left + width]
        if torch.rand(()) < 0.5:
            part = part.flip(2)
        out[i] = (part - mean) / deviation
        y, x = int(torch.randint(height, ())), int(torch.randint(width, ()))
        out[i, :, max(y - 8, 0):y + 8, max(x - 8, 0):x + 8] = 0
    return out


def evaluate(network, images, labels, batch):
    network.eval()
    loss = correct = 0.0
    with torch.no_grad():
        for x, y in zip(images.split(batch), labels.split(batch)):
            logits, _ = network(x)
            loss += float(F.cross_entropy(logits, y, reduction="sum"))
            correct += int((logits.argmax(1) == y).sum())
    return loss / len(labels), 100 * correct / len(labels)


def train(options, seed, train_set, test_set, classes, out):
    torch.manual_seed(seed)
    images, labels = train_set
    mean, deviation = images.mean((0, 2, 3)).view(3, 1, 1), images.std((0, 2, 3), correction=0).view(3, 1, 1)
    network = Network(options.init_channels, options.layers, classes)
    optimiser = torch.optim.SGD(network.parameters(), 0.025, momentum=0.9, weight_decay=3e-4)
    for epoch in range(options.epochs):
        start = time.perf_counter()
        optimiser.param_groups[0]["lr"] = 0.025 * (1 + math.cos(math.pi * epoch / options.epochs)) / 2
        network.train()
        total = correct = count = 0.0
        order = torch.randperm(len(labels))
        for at in range(0, len(order) - options.batch_size + 1, options.batch_size):
            chosen = order[at:at + options.batch_size]
            y = labels[chosen]
            logits, auxiliary = network(augment(images[chosen], mean, deviation), 0.2 * epoch / options.epochs)
            loss = F.cross_entropy(logits, y) + 0.4 * F.cross_entropy(auxiliary, y)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), 5)
            optimiser.step()
            total += float(loss.detach()) * len(y)
            correct += int((logits.argmax(1) == y).sum())
            count += len(y)
        valid_loss, valid_top1 = evaluate(network, (test_set[0] - mean) / deviation, test_set[1], options.batch_size)
        line = dict(
            seed=seed, epoch=epoch, train_loss=total / count, train_top1=100 * correct / count,
            valid_loss=valid_loss, valid_top1=valid_top1, seconds=round(time.perf_counter() - start, 1))
        print(json.dumps(line), file=out, flush=True)


def table(theirs, run):
    """Mean and standard deviation over the seeds, epoch by epoch, as Markdown."""
    peer = [json.loads(line) for line in open(theirs)]
    ours = []
    for name in sorted(os.listdir(run)):
        if name.startswith("seed-"):
            with open(os.path.join(run, name, "metrics.jsonl")) as file:
                ours += [line for line in map(json.loads, file) if line["event"] == "epoch"]

    def spread(lines, epoch, key):
        values = [line[key] for line in lines if line["epoch"] == epoch]
        return f"{statistics.mean(values):.3f} ± {statistics.stdev(values):.3f}"

    keys = {"train_loss": "training loss", "valid_loss": "test loss", "valid_top1": "test top-1, %"}
    print("| epoch |" + "".join(f" {title}: dartsc | PyTorch |" for title in keys.values()))
    print("| --- |" + " --- | --- |" * len(keys))
    for epoch in sorted({line["epoch"] for line in peer} & {line["epoch"] for line in ours}):
        cells = [spread(lines, epoch, key) for key in keys for lines in (ours, peer)]
        print(f"| {epoch + 1} | " + " | ".join(cells) + " |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--init-channels", type=int, default=16)
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out")
    parser.add_argument("--table", nargs=2, metavar=("FILE", "RUN"))
    options = parser.parse_args()
    if options.table:
        return table(*options.table)
    torch.set_num_threads(options.threads)
    classes = sorted(os.listdir(os.path.join(options.data, "train")))
    sets = [read(os.path.join(options.data, part), classes) for part in ("train", "test")]
    out = open(options.out, "w") if options.out else sys.stdout
    for seed in map(int, options.seeds.split(",")):
        train(options, seed, *sets, len(classes), out)


if __name__ == "__main__":
    main()
