#!/usr/bin/python3
"""Compares the oracle with the reference data: forward, losses, gradients, AdamW, EMA, samples.

Exits 0 if all agree, 1 if not, 77 where PyTorch or NumPy is missing (ctest shows it as skipped).
"""

import argparse
import pathlib
import sys

try:
    import numpy as np
    import torch
except ImportError as error:
    print(f"skipped: {error}")
    sys.exit(77)

import diffusion
import dit_moe

FORWARD, BACKWARD = 1e-4, 1e-3  # relative to an array's largest magnitude


class Report:
    def __init__(self):
        self.failures = 0

    def compare(self, what, actual, expected, tolerance, floor=1e-12):
        """Largest difference relative to the largest magnitude expected, or floor if that is more."""
        actual = np.asarray(actual.detach() if torch.is_tensor(actual) else actual, np.float64)
        expected = np.asarray(expected, np.float64)
        if actual.shape != expected.shape:
            self.fail(f"{what}: shape {actual.shape}, expected {expected.shape}")
            return
        error = np.abs(actual - expected).max() / max(np.abs(expected).max(), floor)
        if not error <= tolerance:
            self.fail(f"{what}: relative error {error:.2e}, allowed {tolerance:.0e}")

    def fail(self, message):
        self.failures += 1
        print(message)


def load_arrays(path):
    with np.load(path) as archive:
        return {name: torch.from_numpy(archive[name]) if archive[name].ndim else archive[name].item()
                for name in archive.files}


def load_model(folder):
    return dit_moe.load_model(folder / "model.safetensors",
                              dit_moe.config_from_description(folder / "config.json"))


def check_forward(report, folder):
    model, io = load_model(folder), load_arrays(folder / "forward.npz")
    with torch.no_grad():
        report.compare(f"{folder.name} out", model(io["x"], io["t"], io["y"]), io["out"], FORWARD)
        if "route_index" not in io:
            return
        layers = model.moe_layers()
        index = torch.stack([layer.route_index for layer in layers])
        weight = torch.stack([layer.route_weight for layer in layers])
        if not torch.equal(index, io["route_index"]):
            report.fail(f"{folder.name}: other experts chosen")
        report.compare(f"{folder.name} route_weight", weight, io["route_weight"], FORWARD)
        report.compare(f"{folder.name} out_t_fraction",
                       model(io["x"], io["t_fraction"], io["y"]), io["out_t_fraction"], FORWARD)


def check_gradients(report, what, model, io):
    actual = {name: value.grad for name, value in model.named_parameters() if value.requires_grad}
    expected = {dit_moe.canonical_name(name[5:]): value for name, value in io.items()
                if name.startswith("grad/")}
    if actual.keys() != expected.keys():
        report.fail(f"{what}: lone gradients {sorted(actual.keys() ^ expected.keys())}")
    # Softmax ignores what is common to all keys: the gradient of k_norm.bias is rounding noise.
    floor = 1e-4 * max(value.abs().max().item() for value in expected.values())
    for name in actual.keys() & expected.keys():
        report.compare(f"{what} grad/{name}", actual[name], expected[name], BACKWARD, floor)


def check_training(report, folder):
    model, io = load_model(folder), load_arrays(folder / "train_ddpm.npz")
    initial = {name: value.detach().clone() for name, value in model.named_parameters()}
    mse, vb = diffusion.ddpm_losses(
        model, diffusion.Schedule.linear(), io["x_start"], io["t"], io["y"], io["noise"])
    balance = torch.stack(model.balance_losses())
    ((mse + vb).mean() + balance.sum()).backward()
    for name, actual in (("mse", mse), ("vb", vb), ("loss", mse + vb), ("aux_per_layer", balance)):
        report.compare(f"{folder.name} ddpm {name}", actual, io[name], FORWARD)
    check_gradients(report, f"{folder.name} ddpm", model, io)
    check_step(report, folder, model, initial)


def check_step(report, folder, model, initial):
    """Adam's first step is lr * sign(gradient): only clear signs can be compared."""
    io = {dit_moe.canonical_name(name): value
          for name, value in load_arrays(folder / "train_step.npz").items()}
    trained = [value for value in model.parameters() if value.requires_grad]
    torch.optim.AdamW(trained, lr=1e-4, weight_decay=0.0).step()
    for name, value in model.named_parameters():
        clear = torch.ones_like(value, dtype=torch.bool)
        if value.grad is not None:
            clear = value.grad.abs() > 1e-3 * value.grad.abs().max()
        average = 0.9999 * initial[name] + 0.0001 * value.detach()
        for kind, actual in (("after", value.detach()), ("ema", average)):
            difference = (actual - io[f"{kind}/{name}"]).abs()[clear].max().item()
            if not difference <= 1e-5:
                report.fail(f"{folder.name} {kind}/{name}: differs by {difference:.2e}")


def check_flow(report, folder):
    model, io = load_model(folder), load_arrays(folder / "train_rf.npz")
    loss = diffusion.flow_losses(model, io["x_start"], io["t"], io["y"], io["noise"])
    balance = torch.stack(model.balance_losses())
    (loss.mean() + balance.sum()).backward()
    report.compare(f"{folder.name} rf loss", loss, io["loss_per_image"], FORWARD)
    report.compare(f"{folder.name} rf balance", balance, io["aux_per_layer"], FORWARD)
    check_gradients(report, f"{folder.name} rf", model, io)


def check_schedule(report, schedule, io):
    report.compare("respaced steps", schedule.steps, io["timestep_map"], 0.0)
    report.compare("respaced betas", schedule.betas, io["betas"], 1e-10)


def check_samples(report, folder):
    model, full = load_model(folder), diffusion.Schedule.linear()
    schedule = full.respaced(8)
    io = load_arrays(folder / "sample_ddpm8.npz")
    check_schedule(report, schedule, io)
    batch = len(io["y"])
    actual = diffusion.sample_ddpm(
        model, schedule, io["z"], io["y"], io["cfg_scale"], io["noise"][:, :batch])
    report.compare(f"{folder.name} ddpm", actual, io["out"], BACKWARD)
    io, schedule = load_arrays(folder / "sample_ddim8.npz"), full.respaced_for_ddim(8)
    check_schedule(report, schedule, io)
    actual = diffusion.sample_ddim(model, schedule, io["z"], io["y"], io["cfg_scale"])
    report.compare(f"{folder.name} ddim", actual, io["out"], BACKWARD)
    io = load_arrays(folder / "sample_rf6.npz")
    actual = diffusion.sample_euler(model, io["z"], io["y"], io["cfg_scale"], 6)
    report.compare(f"{folder.name} euler", actual, io["trajectory"], BACKWARD)


def check_balance_pools(report):
    """One image's pools agree; the sequence pool is the mean over single images."""
    probabilities = torch.rand(3, 5, 4).softmax(dim=-1)
    index = probabilities.topk(2, dim=-1).indices
    singles = [dit_moe.balance_loss(probabilities[i:i + 1], index[i:i + 1], "batch")
               for i in range(3)]
    report.compare("balance loss per sequence",
                   dit_moe.balance_loss(probabilities, index, "sequence"),
                   torch.stack(singles).mean(), 1e-6)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=pathlib.Path, help="the folder tests/data")
    data = parser.parse_args().data
    torch.set_num_threads(1)
    torch.manual_seed(0)
    report = Report()
    check_forward(report, data / "dense_dit")
    for name in ("moe_plain", "moe_qknorm"):
        check_forward(report, data / name)
        check_training(report, data / name)
        check_flow(report, data / name)
        check_samples(report, data / name)
    check_balance_pools(report)
    print(f"{report.failures} disagreements" if report.failures else "the oracle agrees")
    return 1 if report.failures else 0


if __name__ == "__main__":
    sys.exit(main())
