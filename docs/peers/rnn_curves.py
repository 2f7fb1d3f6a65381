#!/usr/bin/env python3
"""Learning curves of recurrent cells beside PyTorch: the same models, data and recipes as dartsc's, written plainly.

    rnn_curves.py prepare TEXT FOLDER --words 1000    a corpus: TEXT/valid.txt to train on, TEXT/test.txt to validate on
    rnn_curves.py search FOLDER RUN --seed 1          what dartsc run search rnn does (first or second order)
    rnn_curves.py train FOLDER RUN --seed 1           what dartsc run train rnn does, with the cell DARTS_V2
    rnn_curves.py table --ours RUN… --pytorch RUN…    perplexities by epoch, mean and deviation over the runs of each side

RUN is a folder that gets a metrics.jsonl whose lines of epochs have the names that dartsc's have; table reads both. The
models are those of the original DARTS (rnn/model.py and rnn/model_search.py); where dartsc differs from it on purpose
(README.md, "Is it right?"), so does this: a supernet is evaluated with the statistics of the batch, and a perplexity
counts the words that were predicted. Without dropout the steps of a first-order search here are those that the original
answers (the golden cases) to 1e-13, and those of a second-order one with the original's two defects put back. Needs torch;
prepare and table do not.
"""

import argparse
import collections
import json
import math
import os
import statistics
import time

NODES = 8
PRIMITIVES = ["none", "tanh", "relu", "sigmoid", "identity"]
DARTS_V2 = [("sigmoid", 0), ("relu", 1), ("relu", 1), ("identity", 1), ("tanh", 2), ("sigmoid", 5), ("tanh", 3), ("relu", 5)]


# The corpus. A line ends with <eos>; words are numbered in the order in which they occur.

def prepare(a):
    """Writes train.txt, valid.txt and test.txt; all but the most frequent words of the training text become <unk>."""
    texts = {to: read_lines(os.path.join(a.text, name))[:a.lines] for to, name in (("train.txt", "valid.txt"), ("valid.txt", "test.txt"))}
    counts = collections.Counter(word for line in texts["train.txt"] for word in line)
    ranked = sorted(counts, key=lambda word: (-counts[word], word))
    known = set(ranked[:a.words])
    os.makedirs(a.folder, exist_ok=True)
    texts["test.txt"] = texts["valid.txt"][:100]  # a training ends with a test, of which no figure is made
    for name, lines in texts.items():
        with open(os.path.join(a.folder, name), "w", encoding="utf-8") as file:
            for line in lines:
                file.write(" ".join(word if word in known else "<unk>" for word in line) + "\n")


def read_lines(path):
    with open(path, encoding="utf-8") as file:
        return [line.split() for line in file]


def read_corpus(folder):
    """The numbers of the words of the training and of the validation text, and how many words there are."""
    numbers, texts = {}, []
    for name in ("train.txt", "valid.txt", "test.txt"):
        words = [word for line in read_lines(os.path.join(folder, name)) for word in line + ["<eos>"]]
        texts.append(torch.tensor([numbers.setdefault(word, len(numbers)) for word in words]))
    return texts[0], texts[1], len(numbers)


def streams(words, rows):
    """[length, rows]: a text cut into so many parts of one length."""
    length = len(words) // rows
    return words[:length * rows].view(rows, length).t().contiguous()


def window(text, start, length):
    return text[start:start + length], text[start + 1:start + 1 + length]


# The model.

def locked(x, p, training):
    """Dropout of x [T,B,N] with one mask for all T."""
    if not training or p == 0:
        return x
    return x * torch.empty_like(x[:1]).bernoulli_(1 - p) / (1 - p)


def state_mask(like, p, training):
    if not training or p == 0:
        return 1.0
    return torch.empty_like(like).bernoulli_(1 - p) / (1 - p)


def highway(state, product, activation):
    gate, candidate = product.split(state.shape[-1], -1)
    return state + gate.sigmoid() * (activation(candidate) - state)


class Language:
    """A language model with a tied decoder; genotype None is the supernet of a search."""

    def __init__(self, words, a, genotype):
        n = a.nhid
        self.a, self.genotype, self.training = a, genotype, True
        uniform = lambda *shape: torch.empty(shape).uniform_(-0.04, 0.04).requires_grad_()
        self.encoder, self.bias = uniform(words, n), torch.zeros(words, requires_grad=True)
        self.w0, self.ws = uniform(2 * n, 2 * n), [uniform(n, 2 * n) for _ in range(NODES)]
        self.weights = [self.encoder, self.bias, self.w0, *self.ws]
        self.alphas = (1e-3 * torch.randn(NODES * (NODES + 1) // 2, len(PRIMITIVES))).requires_grad_()

    def forward(self, words, hidden, weights=None):
        """Logits [T·B,V], the last hidden state [B,N], and the states of all steps before and after dropout [T,B,N]."""
        a, training = self.a, self.training
        encoder, bias, w0, *ws = weights or self.weights
        table = encoder
        if training and a.dropoute > 0:
            table = encoder * torch.empty(len(encoder), 1).bernoulli_(1 - a.dropoute) / (1 - a.dropoute)
        x = locked(F.embedding(words, table), a.dropouti, training)
        x = x * state_mask(hidden, a.dropoutx, training)
        mask, states = state_mask(hidden, a.dropouth, training), []
        probabilities = F.softmax(self.alphas, -1)
        for step in x:
            first = highway(hidden, torch.cat([step, hidden * mask], 1) @ w0, torch.tanh)
            hidden = self.supernet(first, ws, mask, probabilities) if self.genotype is None else self.derived(first, ws, mask)
            states.append(hidden)
        raw = torch.stack(states)
        dropped = locked(raw, a.dropout, training)
        return F.linear(dropped.flatten(0, 1), encoder, bias), hidden, raw, dropped

    def derived(self, state, ws, mask):
        states = [state]
        for (name, source), w in zip(self.genotype, ws):
            states.append(highway(states[source], (states[source] * mask) @ w, ACTIVATIONS[name]))
        return torch.stack(states[1:]).mean(0)

    def supernet(self, state, ws, mask, probabilities):
        normalise = lambda s: F.batch_norm(s, None, None, training=True)
        states, row = normalise(state).unsqueeze(0), 0
        for i, w in enumerate(ws):
            gate, candidate = ((states * mask) @ w).split(self.a.nhid, -1)
            weights = probabilities[row:row + i + 1, 1:, None, None]  # [edges, activations but none, 1, 1]
            mixed = sum(weights[:, k] * ACTIVATIONS[name](candidate) for k, name in enumerate(PRIMITIVES[1:]))
            kept = weights.sum(1) * states
            node = (kept + gate.sigmoid() * (mixed - kept)).sum(0)  # of s + σ(c)·(act(h) - s), each activation by its weight
            states, row = torch.cat([states, normalise(node).unsqueeze(0)]), row + i + 1
        return states[1:].mean(0)

    def loss(self, batch, hidden, weights=None):
        """The mean loss of a word, the same with regularisation, and the last hidden state."""
        logits, last, raw, dropped = self.forward(batch[0], hidden, weights)
        loss = F.cross_entropy(logits, batch[1].flatten())
        total = loss + self.a.alpha * dropped.pow(2).mean()
        if len(raw) > 1:
            total = total + self.a.beta * (raw[1:] - raw[:-1]).pow(2).mean()
        return loss, total, last.detach()


# The recipes.

def clip_(gradients, norm):
    """Scales gradients to a norm of at most so much; returns the factor."""
    factor = min(1.0, norm / (math.sqrt(sum(g.pow(2).sum().item() for g in gradients)) + 1e-6))
    for g in gradients:
        g.mul_(factor)
    return factor


def alpha_gradient(model, train, valid, rate):
    """Of the validation loss, at the weights or one step ahead; and the hidden state of the validation text."""
    a = model.a
    if not a.unrolled:
        loss, _, hidden = model.loss(*valid)
        return torch.autograd.grad(loss, model.alphas)[0], hidden
    inner = list(torch.autograd.grad(model.loss(*train)[0], model.weights))
    factor = clip_(inner, a.clip)
    ahead = [(w - rate * (g + a.wdecay * w)).detach().requires_grad_() for w, g in zip(model.weights, inner)]
    loss, _, hidden = model.loss(*valid, ahead)
    *vector, gradient = torch.autograd.grad(loss, [*ahead, model.alphas])
    clip_(vector, a.clip)
    r = 1e-2 / math.sqrt(sum(v.pow(2).sum().item() for v in vector))
    sides = []
    for sign in (1, -1):
        moved = [w.detach() + sign * r * v for w, v in zip(model.weights, vector)]
        sides.append(torch.autograd.grad(model.loss(*train, moved)[0], model.alphas)[0])
    return gradient - rate * factor * (sides[0] - sides[1]) / (2 * r), hidden


def step(model, optimiser, batch, hidden, rate):
    loss, total, hidden = model.loss(batch, hidden)
    gradients = torch.autograd.grad(total, model.weights)
    clip_(gradients, model.a.clip)
    for w, g in zip(model.weights, gradients):
        w.grad = g
    optimiser.param_groups[0]["lr"] = rate
    optimiser.step()
    return loss.item(), hidden


def evaluate(model, text, bptt):
    """The mean loss of a word."""
    model.training, sum_, hidden = False, 0.0, torch.zeros(text.shape[1], model.a.nhid)
    with torch.no_grad():
        for start in range(0, len(text) - 1, bptt):
            batch = window(text, start, min(bptt, len(text) - 1 - start))
            loss, _, hidden = model.loss(batch, hidden)
            sum_ += loss.item() * batch[1].numel()
    model.training = True
    return sum_ / ((len(text) - 1) * text.shape[1])


def lengths(a, rows, vary):
    """The start of each step of an epoch, its length, and the length before the end of the text cut it."""
    start = 0
    while start < rows - 2:
        mean = a.bptt if torch.rand(()) < 0.95 else a.bptt / 2
        length = int(mean)
        if vary:
            length = min(max(5, int(mean + 5 * torch.randn(()).item())), a.bptt + a.delta)
        yield start, min(length, rows - 1 - start), length
        start += length


def search(a):
    train, valid, words = read_corpus(a.folder)
    train, valid = streams(train, a.batch_size), streams(valid, a.batch_size)
    model = Language(words, a, None)
    optimiser = torch.optim.SGD(model.weights, a.lr, weight_decay=a.wdecay)
    adam = torch.optim.Adam([model.alphas], lr=a.arch_lr, weight_decay=a.arch_wdecay)
    for epoch in range(a.epochs):
        began, sum_, count = time.time(), 0.0, 0
        hidden = hidden_valid = torch.zeros(a.batch_size, a.nhid)
        for start, length, drawn in lengths(a, len(train), vary=False):
            rate, batch = a.lr * drawn / a.bptt, window(train, start, length)
            other = window(valid, start % (len(valid) - length), length)
            model.alphas.grad, hidden_valid = alpha_gradient(model, (batch, hidden), (other, hidden_valid), rate)
            adam.step()
            loss, hidden = step(model, optimiser, batch, hidden, rate)
            sum_, count = sum_ + loss * length, count + length
        p = F.softmax(model.alphas, -1)
        entropy = -(p * p.log()).sum(-1).mean().item()
        report(a, epoch, sum_ / count, evaluate(model, valid, a.bptt), began, entropy=entropy, genotype=derive(p.tolist()))


def derive(p):
    """Of each node the edge with the heaviest activation but none, and that activation."""
    genotype, row = [], 0
    for i in range(NODES):
        edges = p[row:row + i + 1]
        j = max(range(i + 1), key=lambda j: max(edges[j][1:]))
        genotype.append((PRIMITIVES[1 + max(range(4), key=lambda k: edges[j][1 + k])], j))
        row += i + 1
    return genotype


def train(a):
    text, valid, words = read_corpus(a.folder)
    text, valid = streams(text, a.batch_size), streams(valid, 10)
    model = Language(words, a, DARTS_V2)
    optimiser, losses = torch.optim.SGD(model.weights, a.lr, weight_decay=a.wdecay), []
    for epoch in range(a.epochs):
        began, sum_, count, hidden = time.time(), 0.0, 0, torch.zeros(a.batch_size, a.nhid)
        for start, length, drawn in lengths(a, len(text), vary=True):
            loss, hidden = step(model, optimiser, window(text, start, length), hidden, a.lr * drawn / a.bptt)
            sum_, count = sum_ + loss * length, count + length
        averaged = isinstance(optimiser, torch.optim.ASGD)
        kept = [w.detach().clone() for w in model.weights]
        if averaged:
            copy_(model.weights, [optimiser.state[w]["ax"] for w in model.weights])
        loss = evaluate(model, valid, a.bptt)
        copy_(model.weights, kept)
        report(a, epoch, sum_ / count, loss, began, averaged=averaged)
        if not averaged:
            if len(losses) > a.nonmono and loss > min(losses[:-a.nonmono]):
                optimiser = torch.optim.ASGD(model.weights, a.lr, t0=0, lambd=0.0, weight_decay=a.wdecay)
            losses.append(loss)


def copy_(weights, values):
    with torch.no_grad():
        for w, v in zip(weights, values):
            w.copy_(v)


def report(a, epoch, train_loss, valid_loss, began, **more):
    line = {"event": "epoch", "epoch": epoch, "train_perplexity": math.exp(train_loss), "valid_perplexity": math.exp(valid_loss), **more}
    with open(os.path.join(a.run, "metrics.jsonl"), "a") as file:
        file.write(json.dumps(line) + "\n")
    print(json.dumps({**line, "seconds": round(time.time() - began, 1)}), flush=True)


# The table.

def table(a):
    sides = [[epochs(run) for run in runs] for runs in (a.ours, a.pytorch)]
    count = min(len(run) for side in sides for run in side)
    keys = ["train_perplexity", "valid_perplexity"] + [k for k in ("entropy",) if k in sides[0][0][0]]
    print("| epoch | " + " | ".join(f"{key.replace('_', ' ')}, dartsc | PyTorch" for key in keys) + " |")
    print("| --- " * (1 + 2 * len(keys)) + "|")
    for i in range(count):
        cells = []
        for key in keys:
            for side in sides:
                values = [run[i][key] for run in side]
                deviation = statistics.stdev(values) if len(values) > 1 else 0.0
                digits = 3 if key == "entropy" else 1
                cells.append(f"{statistics.mean(values):.{digits}f} ± {deviation:.{digits}f}")
        print(f"| {i + 1} | " + " | ".join(cells) + " |")


def epochs(run):
    with open(os.path.join(run, "metrics.jsonl")) as file:
        return [line for line in map(json.loads, file) if line["event"] == "epoch"]


def arguments():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = p.add_subparsers(dest="command", required=True)
    c = commands.add_parser("prepare")
    c.add_argument("text")
    c.add_argument("folder")
    c.add_argument("--words", type=int, default=1000)
    c.add_argument("--lines", type=int, help="of each text (default all)")
    c = commands.add_parser("table")
    c.add_argument("--ours", nargs="+", required=True)
    c.add_argument("--pytorch", nargs="+", required=True)
    numbers = {"nhid": 64, "epochs": 5, "batch-size": 64, "bptt": 20, "seed": 1, "dropout": 0.2, "dropouth": 0.1, "dropoutx": 0.2,
               "dropouti": 0.1, "dropoute": 0.0, "lr": 20.0, "clip": 0.25, "wdecay": 5e-7, "alpha": 0.0, "beta": 1e-3, "threads": 1}
    for name, more in (("search", {"arch-lr": 3e-3, "arch-wdecay": 1e-3}), ("train", {"nonmono": 5, "delta": 20})):
        c = commands.add_parser(name)
        c.add_argument("folder")
        c.add_argument("run")
        for flag, value in {**numbers, **more}.items():
            c.add_argument("--" + flag, type=type(value), default=value)
        if name == "search":
            c.add_argument("--unrolled", action="store_true")
    return p.parse_args()


if __name__ == "__main__":
    a = arguments()
    if a.command in ("search", "train"):
        import torch
        import torch.nn.functional as F
        ACTIVATIONS = {"tanh": torch.tanh, "relu": torch.relu, "sigmoid": torch.sigmoid, "identity": lambda x: x}
        torch.manual_seed(a.seed)
        torch.set_num_threads(a.threads)
        os.makedirs(a.run)
    {"prepare": prepare, "search": search, "train": train, "table": table}[a.command](a)
