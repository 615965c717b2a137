#!/usr/bin/python3
"""Times one training step of the project's own PyTorch network (tests/oracle).

Forward with the losses of DDPM (learned variance) and of balance, backward, and update: clipping to
norm 1, AdamW, averaged weights. One random batch; weights as PyTorch's layers begin, all of which
get gradients; tokens sorted by expert, one product per expert. bf16 is autocast of the network: weights,
optimiser and losses stay f32. The environment decides how OpenBLAS and OpenMP behave. Prints
seconds, and with --json one JSON object as the last line.
"""

import argparse
import resource
import sys
import time

import peer_common
import pytorch_forward

LEARNING_RATE = 1e-4
EMA_DECAY = 0.9999
PARTS = ("forward", "backward", "update")


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("preset", nargs="?", default="S/2-8E2A",
                        help="S/2-8E2A and the like; S/2 for a dense DiT (%(default)s)")
    parser.add_argument("--batch", type=int, default=8, help="images in a step (%(default)s)")
    parser.add_argument("--dtype", choices=("f32", "bf16"), default="f32")
    parser.add_argument("--threads", type=int, default=2,
                        help="torch.set_num_threads; 0 leaves PyTorch's default (%(default)s)")
    parser.add_argument("--update", choices=("single", "foreach"), default="single",
                        help="AdamW and averaging tensor by tensor, or with PyTorch's foreach "
                        "functions, which take more than twice as long on a CPU (%(default)s)")
    parser.add_argument("--repetitions", type=int, default=10)
    parser.add_argument("--warmup", type=int, default=2)
    parser.add_argument("--json", action="store_true",
                        help="print one JSON object as the last line of standard output")
    parser.add_argument("--out", help="write the JSON here, not to standard output")
    arguments = parser.parse_args()
    if min(arguments.batch, arguments.repetitions) < 1:
        peer_common.die("--batch and --repetitions start at 1")
    if min(arguments.threads, arguments.warmup) < 0:
        peer_common.die("--threads and --warmup start at 0")
    return arguments


class Training:
    """A network on one batch, and what its updates keep."""

    def __init__(self, torch, network, batch, arguments):
        import diffusion
        self.torch, self.network, self.batch = torch, network, batch
        self.bf16 = arguments.dtype == "bf16"
        self.foreach = arguments.update == "foreach"
        self.ddpm_losses = diffusion.ddpm_losses
        self.schedule = diffusion.Schedule.linear()
        self.trained = [value for value in network.parameters() if value.requires_grad]
        self.averaged = [value.detach().clone() for value in self.trained]
        self.optimizer = torch.optim.AdamW(
            self.trained, lr=LEARNING_RATE, weight_decay=0.0, foreach=self.foreach)
        self.loss = self.gradient_norm = None

    def predict(self, x, t, y):
        with self.torch.autocast("cpu", dtype=self.torch.bfloat16, enabled=self.bf16):
            return self.network(x, t, y).float()

    def forward(self):
        mse, vb = self.ddpm_losses(self.predict, self.schedule, *self.batch)
        self.loss = (mse + vb).mean() + sum(self.network.balance_losses())

    def backward(self):
        self.loss.backward()

    def update(self):
        self.gradient_norm = self.torch.nn.utils.clip_grad_norm_(self.trained, 1.0)
        self.optimizer.step()
        self.average()
        # Gradients that are made anew cost less than zeros to which they are added.
        self.optimizer.zero_grad(set_to_none=True)

    def average(self):
        with self.torch.no_grad():
            if self.foreach:
                self.torch._foreach_mul_(self.averaged, EMA_DECAY)
                self.torch._foreach_add_(self.averaged, self.trained, alpha=1.0 - EMA_DECAY)
                return
            for average, value in zip(self.averaged, self.trained):
                # lerp_ would be one pass instead of two, and is slower.
                average.mul_(EMA_DECAY).add_(value, alpha=1.0 - EMA_DECAY)

    def step(self):
        """Seconds of each of PARTS, which are the whole step."""
        times = [time.perf_counter()]
        for part in (self.forward, self.backward, self.update):
            part()
            times.append(time.perf_counter())
        return [end - begin for begin, end in zip(times, times[1:])]


def random_batch(torch, config, images):
    """x_start, t (spread evenly over the steps), y, noise."""
    shape = (images, config.channels, config.image_size, config.image_size)
    return (torch.randn(shape), torch.arange(images) * 999 // images,
            torch.randint(config.num_classes, (images,)), torch.randn(shape))


def cpu_capability(torch):
    """The instruction set of PyTorch's own loops; ATEN_CPU_CAPABILITY may ask for another."""
    lines = torch.__config__.show().splitlines()
    found = [line.partition("usage:")[2].strip() for line in lines if "CPU capability" in line]
    return found[0] if found else None


def check(torch, training):
    """Refuses to report steps whose numbers cannot be right."""
    if not torch.isfinite(training.loss):
        peer_common.die("the loss is not finite")
    if not (torch.isfinite(training.gradient_norm) and training.gradient_norm > 0):
        peer_common.die("the gradient is not finite, or zero")
    unchanged = sum(bool((value == average).all())
                    for value, average in zip(training.trained, training.averaged))
    if unchanged:
        peer_common.die(f"{unchanged} of {len(training.trained)} tensors were not trained")


def print_seconds(result, summaries):
    print(f"PyTorch {result['preset']} {result['dtype']} batch {result['batch']}, "
          f"{result['threads']} threads; seconds:")
    print(f"{'':10} {'median':>8} {'p10':>8} {'p90':>8}")
    for name, summary in summaries.items():
        print(f"{name:10} " + " ".join(f"{1e-3 * summary[key]:8.3f}"
                                       for key in ("median_ms", "p10_ms", "p90_ms")))
    print(f"foreign load {result['foreign_load']:.2f}")


def main():
    arguments = parse_arguments()
    fields = peer_common.preset_fields(arguments.preset)
    torch, dit_moe = pytorch_forward.import_torch()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    network = dit_moe.Dit(dit_moe.DitConfig(**fields))
    dtype = torch.bfloat16 if arguments.dtype == "bf16" else torch.float32
    error = pytorch_forward.product_error(torch, dtype, network.config.width)
    if not error < (2e-2 if arguments.dtype == "bf16" else 1e-4):
        peer_common.die(f"products are wrong here (relative error {error:.1e}): OpenBLAS's kernels "
                        f"'{pytorch_forward.openblas_core()}' do not work on this CPU")
    training = Training(
        torch, network, random_batch(torch, network.config, arguments.batch), arguments)
    for _ in range(arguments.warmup):
        training.step()
    load = peer_common.ForeignLoad()
    steps = [training.step() for _ in range(arguments.repetitions)]
    foreign_load = load.stop()
    check(torch, training)
    summaries = {"step": peer_common.summary_ms(map(sum, steps))} | {
        part: peer_common.summary_ms(seconds) for part, seconds in zip(PARTS, zip(*steps))}
    result = {
        "implementation": "pytorch", "preset": arguments.preset, "batch": arguments.batch,
        "dtype": arguments.dtype, "threads": torch.get_num_threads(), "update": arguments.update,
        "repetitions": arguments.repetitions, **summaries["step"],
        **{f"{part}_ms": summaries[part]["median_ms"] for part in PARTS}, "summaries": summaries,
        "loss": training.loss.item(), "gradient_norm": training.gradient_norm.item(),
        "largest_expert_share": pytorch_forward.largest_share(network), "product_error": error,
        "peak_bytes": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
        "foreign_load": foreign_load,
        "versions": {"torch": torch.__version__, "cpu_capability": cpu_capability(torch),
                     "openblas_core": pytorch_forward.openblas_core(),
                     "python": sys.version.split()[0]}}
    print_seconds(result, summaries)
    if arguments.json or arguments.out:
        peer_common.write_result(result, arguments.out)


if __name__ == "__main__":
    main()
