"""DiT-MoE, DiT and the dense SwiGLU control in PyTorch: the oracle of the C++ implementations.

Formulas: Peebles & Xie 2022 (arXiv 2212.09748), Fei et al. 2024 (arXiv 2407.11633).
Shapes: B images, T tokens, D width, H heads, E experts, K choices a token, F expert width.
"""

import dataclasses
import json
import math
import pathlib

import torch
from torch import nn
from torch.nn import functional

from safetensors_io import read_safetensors

FREQUENCIES = 256  # width of the sinusoidal embedding of time
NORM_EPS = 1e-6


@dataclasses.dataclass
class DitConfig:
    """The architecture; fields and words as in the metadata "ditmoe.config" of model files."""

    image_size: int = 32
    patch_size: int = 2
    channels: int = 4
    width: int = 384
    depth: int = 12
    heads: int = 6
    num_classes: int = 1000
    feed_forward: str = "moe"  # "moe", "gelu", "swiglu"
    experts: int = 8
    top_k: int = 2
    shared_experts: int = 2
    expert_width: int = 0  # 0 means 4 * width
    moe_placement: str = "every"  # "every", "alternate", "deep_half"
    qk_norm: bool = False
    learn_sigma: bool = True
    objective: str = "ddpm"  # "ddpm", "rf"
    balance_factor: float = 0.005
    balance_pool: str = "sequence"  # "sequence", "batch"

    @property
    def routed_width(self):
        return self.expert_width or 4 * self.width

    @property
    def shared_width(self):
        return self.shared_experts * self.width

    @property
    def output_channels(self):
        return self.channels * (2 if self.learn_sigma else 1)

    def is_moe(self, layer):
        if self.feed_forward != "moe":
            return False
        return {"every": True,
                "alternate": layer % 2 == 1,
                "deep_half": layer >= self.depth // 2}[self.moe_placement]


def config_from_description(path):
    """The configuration from a config.json of the reference data."""
    described = json.loads(pathlib.Path(path).read_text())
    width = described["hidden_size"]
    config = DitConfig(image_size=described["input_size"], patch_size=described["patch_size"],
                       channels=described["in_channels"], width=width, depth=described["depth"],
                       heads=described["num_heads"], num_classes=described["num_classes"],
                       balance_pool="batch")
    if "num_experts" not in described:
        config.feed_forward = "gelu"
        config.shared_experts = 0
        return config
    config.experts = described["num_experts"]
    config.top_k = described["top_k"]
    config.shared_experts = described["shared_width"] // width
    config.expert_width = described["expert_width"]
    config.qk_norm = described["attention"].startswith("qk-norm")
    config.balance_factor = described["aux_loss_alpha"]
    return config


def modulate(x_BTD, shift_BD, scale_BD):
    return x_BTD * (1 + scale_BD.unsqueeze(1)) + shift_BD.unsqueeze(1)


def time_frequencies(t_B):
    half = FREQUENCIES // 2
    rates = torch.exp(-math.log(10000.0) / half * torch.arange(half, dtype=torch.float32))
    angles = t_B.float().unsqueeze(1) * rates
    return torch.cat([torch.cos(angles), torch.sin(angles)], dim=1)


class PatchEmbedder(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.proj = nn.Conv2d(config.channels, config.width, config.patch_size, config.patch_size)

    def forward(self, x_BCHW):
        return self.proj(x_BCHW).flatten(2).transpose(1, 2)


class TimeEmbedder(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(FREQUENCIES, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, t_B):
        return self.mlp(time_frequencies(t_B))


class LabelEmbedder(nn.Module):
    """The last row is the null label."""

    def __init__(self, config):
        super().__init__()
        self.embedding_table = nn.Embedding(config.num_classes + 1, config.width)

    def forward(self, y_B):
        return self.embedding_table(y_B)


class Attention(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.heads = config.heads
        head_dim = config.width // config.heads
        self.qkv = nn.Linear(config.width, 3 * config.width)
        self.proj = nn.Linear(config.width, config.width)
        if config.qk_norm:
            self.q_norm = nn.LayerNorm(head_dim, eps=NORM_EPS)
            self.k_norm = nn.LayerNorm(head_dim, eps=NORM_EPS)
        else:
            self.q_norm = self.k_norm = nn.Identity()

    def forward(self, x_BTD):
        batch, tokens, width = x_BTD.shape
        qkv = self.qkv(x_BTD).view(batch, tokens, 3, self.heads, width // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        q, k = self.q_norm(q), self.k_norm(k)
        scores = (q / math.sqrt(width // self.heads)) @ k.transpose(-2, -1)
        mixed = scores.softmax(dim=-1) @ v
        return self.proj(mixed.transpose(1, 2).reshape(batch, tokens, width))


class SwiGlu(nn.Module):
    def __init__(self, width, hidden):
        super().__init__()
        self.gate_proj = nn.Linear(width, hidden, bias=False)
        self.up_proj = nn.Linear(width, hidden, bias=False)
        self.down_proj = nn.Linear(hidden, width, bias=False)

    def forward(self, x):
        return self.down_proj(functional.silu(self.gate_proj(x)) * self.up_proj(x))


class GeluMlp(nn.Module):
    def __init__(self, width, hidden):
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x):
        return self.fc2(functional.gelu(self.fc1(x), approximate="tanh"))


class Router(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(config.experts, config.width))
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))

    def forward(self, x_ND):
        return functional.linear(x_ND, self.weight).softmax(dim=-1)


def balance_loss(probabilities_BTE, index_BTK, pool):
    """Sum over experts of E/(K·tokens) · times chosen · mean probability, over one pool of tokens.

    "sequence" pools over one image and averages over images, "batch" pools over all tokens.
    """
    experts, top_k = probabilities_BTE.shape[2], index_BTK.shape[2]
    if pool == "batch":
        probabilities_BTE = probabilities_BTE.flatten(0, 1).unsqueeze(0)
        index_BTK = index_BTK.flatten(0, 1).unsqueeze(0)
    tokens = index_BTK.shape[1]
    chosen_BE = functional.one_hot(index_BTK.flatten(1), experts).sum(dim=1)
    share_BE = chosen_BE * (experts / (top_k * tokens))
    return (share_BE * probabilities_BTE.mean(dim=1)).sum(dim=1).mean()


class Moe(nn.Module):
    """Routed experts, each multiplied with all its tokens at once, plus the ungated shared one."""

    def __init__(self, config):
        super().__init__()
        self.top_k = config.top_k
        self.pool = config.balance_pool
        self.gate = Router(config)
        self.experts = nn.ModuleList(
            SwiGlu(config.width, config.routed_width) for _ in range(config.experts))
        if config.shared_experts > 0:
            self.shared_experts = SwiGlu(config.width, config.shared_width)
        self.balance = None  # of the last forward, without its factor
        self.route_index = self.route_weight = None  # of the last forward, [B*T, K]

    def forward(self, x_BTD):
        batch, tokens, width = x_BTD.shape
        x_ND = x_BTD.reshape(-1, width)
        probabilities_NE = self.gate(x_ND)
        index_NK = probabilities_NE.topk(self.top_k, dim=-1).indices.sort(dim=-1).values
        weight_NK = probabilities_NE.gather(1, index_NK)
        self.route_index, self.route_weight = index_NK, weight_NK.detach()
        self.balance = balance_loss(probabilities_NE.view(batch, tokens, -1),
                                    index_NK.view(batch, tokens, -1), self.pool)

        order = index_NK.flatten().argsort(stable=True)
        counts = torch.bincount(index_NK.flatten(), minlength=len(self.experts)).tolist()
        sorted_x = x_ND[order // self.top_k].split(counts)
        sorted_out = torch.cat([expert(rows) for expert, rows in zip(self.experts, sorted_x)])
        back = torch.empty_like(order)
        back[order] = torch.arange(order.numel())
        chosen_NKD = sorted_out[back].view(-1, self.top_k, width)
        out = (chosen_NKD * weight_NK.unsqueeze(-1)).sum(dim=1)
        if hasattr(self, "shared_experts"):
            out = out + self.shared_experts(x_ND)
        return out.view(batch, tokens, width)


class Block(nn.Module):
    def __init__(self, config, layer):
        super().__init__()
        width = config.width
        self.norm = nn.LayerNorm(width, elementwise_affine=False, eps=NORM_EPS)
        self.attn = Attention(config)
        if config.is_moe(layer):
            self.moe = Moe(config)
        elif config.feed_forward == "gelu":
            self.mlp = GeluMlp(width, 4 * width)
        else:
            self.mlp = SwiGlu(width, config.routed_width * config.top_k + config.shared_width)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 6 * width))

    def forward(self, x_BTD, c_BD):
        shift_a, scale_a, gate_a, shift_m, scale_m, gate_m = self.adaLN_modulation(c_BD).chunk(6, 1)
        feed_forward = self.moe if hasattr(self, "moe") else self.mlp
        x_BTD = x_BTD + gate_a.unsqueeze(1) * self.attn(
            modulate(self.norm(x_BTD), shift_a, scale_a))
        return x_BTD + gate_m.unsqueeze(1) * feed_forward(
            modulate(self.norm(x_BTD), shift_m, scale_m))


class FinalLayer(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.norm = nn.LayerNorm(config.width, elementwise_affine=False, eps=NORM_EPS)
        self.linear = nn.Linear(config.width, config.patch_size**2 * config.output_channels)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(config.width, 2 * config.width))

    def forward(self, x_BTD, c_BD):
        shift, scale = self.adaLN_modulation(c_BD).chunk(2, dim=1)
        return self.linear(modulate(self.norm(x_BTD), shift, scale))


class Dit(nn.Module):
    """forward(x [B,C,H,W], t [B] as the embedding takes it, y [B]) -> [B, output_channels, H, W]."""

    def __init__(self, config):
        super().__init__()
        self.config = config
        tokens = (config.image_size // config.patch_size) ** 2
        self.x_embedder = PatchEmbedder(config)
        self.t_embedder = TimeEmbedder(config.width)
        self.y_embedder = LabelEmbedder(config)
        self.pos_embed = nn.Parameter(torch.zeros(1, tokens, config.width), requires_grad=False)
        self.blocks = nn.ModuleList(Block(config, layer) for layer in range(config.depth))
        self.final_layer = FinalLayer(config)

    def forward(self, x_BCHW, t_B, y_B):
        x = self.x_embedder(x_BCHW) + self.pos_embed
        c = self.t_embedder(t_B) + self.y_embedder(y_B)
        for block in self.blocks:
            x = block(x, c)
        return self.unpatchify(self.final_layer(x, c))

    def unpatchify(self, x_BTP):
        patch, grid = self.config.patch_size, self.config.image_size // self.config.patch_size
        x = x_BTP.view(-1, grid, grid, patch, patch, self.config.output_channels)
        return x.permute(0, 5, 1, 3, 2, 4).reshape(
            -1, self.config.output_channels, grid * patch, grid * patch)

    def moe_layers(self):
        return [block.moe for block in self.blocks if hasattr(block, "moe")]

    def balance_losses(self):
        """Of the last forward, factor applied, one per MoE block."""
        return [self.config.balance_factor * moe.balance for moe in self.moe_layers()]


def canonical_name(name):
    return name.replace(".attn.Wqkv.", ".attn.qkv.").replace(".attn.out_proj.", ".attn.proj.")


def load_model(path, config=None, **overrides):
    """The network of a safetensors file, by its own metadata unless a configuration is given.

    overrides replace single fields of the configuration.
    """
    arrays, metadata = read_safetensors(path)
    config = config or DitConfig(**json.loads(metadata["ditmoe.config"]))
    model = Dit(dataclasses.replace(config, **overrides))
    model.load_state_dict(
        {canonical_name(name): torch.from_numpy(array) for name, array in arrays.items()})
    return model
