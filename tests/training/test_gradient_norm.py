"""Gradients of 3 and 4 have a norm of 5, whatever a GradScaler multiplied them by."""

import math

import pytest
import torch

from segpipe.training.gradient_norm import GradientNorm

OPTIMIZERS = [
    lambda parameters: torch.optim.SGD(parameters, lr=0.1),
    lambda parameters: torch.optim.AdamW(parameters, fused=True),
]


def two_parameters():
    return [torch.nn.Parameter(torch.zeros(1)) for _ in range(2)]


def loss(parameters, factor=1.0):
    return factor * (3 * parameters[0] + 4 * parameters[1]).sum()


def step(optimizer, parameters, factor=1.0):
    optimizer.zero_grad()
    loss(parameters, factor).backward()
    optimizer.step()


@pytest.mark.parametrize("make", OPTIMIZERS)
def test_it_is_the_mean_over_steps_of_all_gradients_norm(make):
    parameters = two_parameters()
    optimizer = make(parameters)
    norm = GradientNorm(optimizer)

    step(optimizer, parameters)
    step(optimizer, parameters, factor=3)

    assert norm.mean() == pytest.approx(10)


def test_a_reset_begins_anew():
    parameters = two_parameters()
    optimizer = torch.optim.SGD(parameters, lr=0.1)
    norm = GradientNorm(optimizer)
    step(optimizer, parameters, factor=7)

    norm.reset()

    assert math.isnan(norm.mean())
    step(optimizer, parameters)
    assert norm.mean() == pytest.approx(5)


@pytest.mark.parametrize("make", OPTIMIZERS)
def test_a_scalers_factor_is_taken_out(make):
    """The scaler unscales SGD's gradients itself; a fused optimiser unscales them in its kernel."""
    parameters = two_parameters()
    optimizer, scaler = make(parameters), torch.amp.GradScaler("cpu", init_scale=1024.0)
    norm = GradientNorm(optimizer)

    scaler.scale(loss(parameters)).backward()
    scaler.step(optimizer)
    scaler.update()

    assert norm.mean() == pytest.approx(5)


@pytest.mark.parametrize("make", OPTIMIZERS)
def test_a_step_that_a_scaler_leaves_out_is_not_counted(make):
    parameters = two_parameters()
    optimizer, scaler = make(parameters), torch.amp.GradScaler("cpu", init_scale=1024.0)
    norm = GradientNorm(optimizer)
    for factor in (1.0, float("inf")):
        optimizer.zero_grad()
        scaler.scale(loss(parameters, factor)).backward()
        scaler.step(optimizer)
        scaler.update()

    assert norm.mean() == pytest.approx(5)


def test_clipped_gradients_are_those_that_are_used():
    parameters = two_parameters()
    optimizer = torch.optim.SGD(parameters, lr=0.1)
    norm = GradientNorm(optimizer)

    loss(parameters).backward()
    torch.nn.utils.clip_grad_norm_(parameters, 1.0)
    optimizer.step()

    assert norm.mean() == pytest.approx(1, abs=1e-4)


def test_steps_without_gradients_are_none():
    optimizer = torch.optim.SGD(two_parameters(), lr=0.1)
    norm = GradientNorm(optimizer)

    optimizer.step()

    assert math.isnan(norm.mean())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("make", OPTIMIZERS)
def test_on_a_card_it_waits_for_nothing_and_is_the_same(make):
    parameters = [torch.nn.Parameter(torch.zeros(1, device="cuda")) for _ in range(2)]
    optimizer, scaler = make(parameters), torch.amp.GradScaler("cuda", init_scale=1024.0)
    norm = GradientNorm(optimizer)

    scaler.scale(loss(parameters)).backward()
    scaler.step(optimizer)
    optimizer.zero_grad()
    loss(parameters).backward()
    torch.cuda.set_sync_debug_mode("error")
    try:
        norm._count(optimizer)
    finally:
        torch.cuda.set_sync_debug_mode("default")

    assert norm.mean() == pytest.approx(5)
