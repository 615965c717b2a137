"""Objectives and samplers in PyTorch: DDPM with learned variance, DDIM, rectified flow.

Formulas: Ho et al. 2020 (arXiv 2006.11239), Nichol & Dhariwal 2021 (arXiv 2102.09672),
Song et al. 2021 (arXiv 2010.02502), Liu et al. 2022 (arXiv 2209.03003).
"""

import math

import numpy as np
import torch


class Schedule:
    """Tables of a DDPM process in float64; steps[k] is the time the network is given in step k."""

    def __init__(self, betas, steps):
        self.steps = np.asarray(steps)
        self.betas = np.asarray(betas, dtype=np.float64)
        self.alphas = 1.0 - self.betas
        self.cumulative = np.cumprod(self.alphas)
        previous = np.append(1.0, self.cumulative[:-1])
        self.previous_cumulative = previous
        variance = self.betas * (1.0 - previous) / (1.0 - self.cumulative)
        # The first step's posterior variance is 0, whose logarithm is not wanted.
        self.posterior_log_variance = np.log(np.append(variance[1], variance[1:]))
        self.mean_from_start = self.betas * np.sqrt(previous) / (1.0 - self.cumulative)
        self.mean_from_x = (1.0 - previous) * np.sqrt(self.alphas) / (1.0 - self.cumulative)

    @staticmethod
    def linear(num_steps=1000):
        scale = 1000 / num_steps
        return Schedule(np.linspace(scale * 1e-4, scale * 0.02, num_steps), np.arange(num_steps))

    def respaced(self, num_steps):
        """The process over num_steps of these steps, evenly spaced with both ends kept."""
        stride = (len(self.betas) - 1) / max(num_steps - 1, 1)
        return self.restricted([round(stride * k) for k in range(num_steps)])

    def respaced_for_ddim(self, num_steps):
        """The process over every n-th step from 0 on; n = steps / num_steps must be whole."""
        return self.restricted(list(range(0, len(self.betas), len(self.betas) // num_steps)))

    def restricted(self, kept):
        """The process over the steps kept."""
        cumulative = self.cumulative[kept]
        return Schedule(1.0 - cumulative / np.append(1.0, cumulative[:-1]), self.steps[kept])

    def at(self, table, t_B):
        """Entries of a table as float32 [B,1,1,1]."""
        return torch.from_numpy(table)[t_B].float().view(-1, 1, 1, 1)

    def add_noise(self, x_start, t_B, noise):
        return (self.at(np.sqrt(self.cumulative), t_B) * x_start
                + self.at(np.sqrt(1.0 - self.cumulative), t_B) * noise)

    def start_from_noise(self, x, t_B, epsilon):
        return (self.at(np.sqrt(1.0 / self.cumulative), t_B) * x
                - self.at(np.sqrt(1.0 / self.cumulative - 1.0), t_B) * epsilon)

    def posterior_mean(self, x_start, x, t_B):
        return self.at(self.mean_from_start, t_B) * x_start + self.at(self.mean_from_x, t_B) * x

    def learned_log_variance(self, fraction, t_B):
        """Network output -1 gives the posterior's log variance, +1 that of beta."""
        low = self.at(self.posterior_log_variance, t_B)
        high = self.at(np.log(self.betas), t_B)
        weight = (fraction + 1.0) / 2.0
        return weight * high + (1.0 - weight) * low


def per_image(x):
    return x.flatten(1).mean(dim=1)


def normal_kl(mean_1, log_variance_1, mean_2, log_variance_2):
    return 0.5 * (log_variance_2 - log_variance_1 - 1.0
                  + torch.exp(log_variance_1 - log_variance_2)
                  + (mean_1 - mean_2) ** 2 * torch.exp(-log_variance_2))


def approximate_normal_cdf(x):
    return 0.5 * (1.0 + torch.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * x**3)))


def discretized_log_likelihood(x, mean, log_variance):
    """Log probability of 8-bit pixels x in [-1, 1] under a Gaussian; the end bins are open."""
    inverse_deviation = torch.exp(-0.5 * log_variance)
    upper = approximate_normal_cdf((x - mean + 1.0 / 255.0) * inverse_deviation)
    lower = approximate_normal_cdf((x - mean - 1.0 / 255.0) * inverse_deviation)
    inner = (upper - lower).clamp(min=1e-12).log()
    below = upper.clamp(min=1e-12).log()
    above = (1.0 - lower).clamp(min=1e-12).log()
    return torch.where(x < -0.999, below, torch.where(x > 0.999, above, inner))


def ddpm_losses(model, schedule, x_start, t_B, y_B, noise):
    """(mse [B], vb [B]): the noise's squared error, and the variational bound in bits a dimension.

    The bound trains the variance alone: its mean is cut off from the gradient.
    """
    x = schedule.add_noise(x_start, t_B, noise)
    epsilon, fraction = model(x, torch.from_numpy(schedule.steps)[t_B], y_B).chunk(2, dim=1)
    log_variance = schedule.learned_log_variance(fraction, t_B)
    start = schedule.start_from_noise(x, t_B, epsilon.detach())
    mean = schedule.posterior_mean(start, x, t_B)
    kl = normal_kl(schedule.posterior_mean(x_start, x, t_B),
                   schedule.at(schedule.posterior_log_variance, t_B), mean, log_variance)
    likelihood = discretized_log_likelihood(x_start, mean, log_variance)
    vb = torch.where(t_B == 0, -per_image(likelihood), per_image(kl)) / math.log(2.0)
    return per_image((noise - epsilon) ** 2), vb


def flow_losses(model, x_start, t_B, y_B, noise):
    """Squared error [B] of the velocity noise - x at t in [0, 1]; t is given to the network as is."""
    t = t_B.view(-1, 1, 1, 1)
    velocity = model((1.0 - t) * x_start + t * noise, t_B, y_B)[:, :x_start.shape[1]]
    return per_image((noise - x_start - velocity) ** 2)


def guided(model, x, t, y_B, scale, channels):
    """Network output for labels y, guided away from the null label on the first channels."""
    batch = x.shape[0]
    null = torch.full_like(y_B, model.config.num_classes)
    times = torch.full((2 * batch,), t)
    conditional, unconditional = model(
        torch.cat([x, x]), times, torch.cat([y_B, null])).split(batch)
    mixed = unconditional + scale * (conditional - unconditional)
    return torch.cat([mixed[:, :channels], conditional[:, channels:]], dim=1)


@torch.no_grad()
def sample_ddpm(model, schedule, z, y_B, scale, noise, channels=3):
    """noise[k] is added in step k; nothing is clipped."""
    x = z
    for k, step in enumerate(reversed(range(len(schedule.steps)))):
        t_B = torch.full((x.shape[0],), step)
        epsilon, fraction = guided(
            model, x, int(schedule.steps[step]), y_B, scale, channels).chunk(2, dim=1)
        mean = schedule.posterior_mean(schedule.start_from_noise(x, t_B, epsilon), x, t_B)
        deviation = torch.exp(0.5 * schedule.learned_log_variance(fraction, t_B))
        x = mean + (deviation * noise[k] if step > 0 else 0.0)
    return x


@torch.no_grad()
def sample_ddim(model, schedule, z, y_B, scale, channels=3):
    """Deterministic (eta 0)."""
    x = z
    for step in reversed(range(len(schedule.steps))):
        t_B = torch.full((x.shape[0],), step)
        epsilon = guided(model, x, int(schedule.steps[step]), y_B, scale, channels)[:, :z.shape[1]]
        start = schedule.start_from_noise(x, t_B, epsilon)
        previous = schedule.previous_cumulative[step]
        x = math.sqrt(previous) * start + math.sqrt(1.0 - previous) * epsilon
    return x


@torch.no_grad()
def sample_euler(model, z, y_B, scale, steps):
    """Rectified flow from t = 1 (noise) to 0, guided on all channels. Returns the trajectory."""
    trajectory = [z]
    for k in range(steps):
        velocity = guided(model, trajectory[-1], 1.0 - k / steps, y_B, scale, z.shape[1])
        trajectory.append(trajectory[-1] - velocity[:, :z.shape[1]] / steps)
    return torch.stack(trajectory)
