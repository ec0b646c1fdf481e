"""A small network with a batch norm, its gradients, and a Learner around it."""
import torch
from fastai.callback.progress import ProgressCallback  # noqa: F401 - gives learners no_bar
from fastai.data.core import DataLoaders
from fastai.data.load import DataLoader
from fastai.learner import Learner
from torch import nn

from segfast.training.optimizers import seg_optimizer


def make_net():
    "Without a bias before the norm: its gradient is 0 but for rounding, which Adam would blow up."
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 6, 3, bias=False), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 2, 3))


def gradients(net, i):
    net.zero_grad()
    g = torch.Generator().manual_seed(i)
    x, y = torch.randn(4, 3, 8, 8, generator=g), torch.randn(4, 2, 4, 4, generator=g)
    (net(x) - y).pow(2).mean().backward()


def weights(net):
    return torch.cat([p.detach().flatten() for p in net.parameters()])


def learner(name="adam", n=40, moms=(.95, .85, .95)):
    torch.manual_seed(1)
    items = [(x, 2*x[:2, 2:6, 2:6]) for x in torch.randn(n, 3, 8, 8)]
    dls = DataLoaders(DataLoader(items, bs=8), DataLoader(items[:8], bs=8))
    return Learner(dls, make_net(), loss_func=nn.MSELoss(), opt_func=seg_optimizer(name), moms=moms, lr=1e-2,
                   splitter=lambda m: [list(m[:3].parameters()), list(m[3].parameters())], wd=1e-2)
