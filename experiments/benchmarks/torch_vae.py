"""The VAE of the original VampPrior code in PyTorch, and pythae's VAMP with the same networks, for comparison.

As the original has it: value and gate of a layer are two products, the mixture's density is a [batch, K, dim]
broadcast, and log p(x) encodes the image and all pseudo-inputs again for each chunk of samples.
"""

# pyright: reportMissingImports=false
# PyTorch and pythae are the optional extra `benchmark`.

import math
from typing import Any

import torch
from torch import nn


class GatedDense(nn.Module):
    """A linear map times the sigmoid of another."""

    def __init__(self, inputs: int, width: int):
        """Takes the sizes."""
        super().__init__()
        self.value, self.gate = nn.Linear(inputs, width), nn.Linear(inputs, width)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Maps [batch, inputs] to [batch, width]."""
        return self.value(inputs) * torch.sigmoid(self.gate(inputs))


def gated_stack(inputs: int, hidden: list[int]) -> nn.Sequential:
    """Gated layers one after another."""
    return nn.Sequential(*(GatedDense(a, b) for a, b in zip([inputs, *hidden], hidden, strict=False)))


class Encoder(nn.Module):
    """Mean and log-variance of q(z|x), clipped to [-6, 2]."""

    def __init__(self, num_pixels: int, hidden: list[int], latent_dim: int):
        """Takes the sizes."""
        super().__init__()
        self.layers = gated_stack(num_pixels, hidden)
        self.mean, self.log_variance = nn.Linear(hidden[-1], latent_dim), nn.Linear(hidden[-1], latent_dim)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Encodes images [batch, pixels]."""
        hidden = self.layers(x)
        return self.mean(hidden), nn.functional.hardtanh(self.log_variance(hidden), -6.0, 2.0)


class Decoder(nn.Module):
    """Probabilities of the pixels."""

    def __init__(self, latent_dim: int, hidden: list[int], num_pixels: int):
        """Takes the sizes."""
        super().__init__()
        self.layers = gated_stack(latent_dim, hidden)
        self.mean = nn.Linear(hidden[-1], num_pixels)

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        """Decodes z [batch, dim]."""
        return torch.sigmoid(self.mean(self.layers(z)))


def log_normal(z: torch.Tensor, mean: torch.Tensor, log_variance: torch.Tensor) -> torch.Tensor:
    """Log-density of a diagonal Gaussian without its constant, which the original drops; the same work."""
    return -0.5 * torch.sum(log_variance + (z - mean) ** 2 / torch.exp(log_variance), -1)


class OriginalVAE(nn.Module):
    """VAE with N(0, I) or the VampPrior."""

    def __init__(self, prior: str, num_pixels: int, hidden: list[int], latent_dim: int, num_components: int):
        """Takes "standard" or "vamp", and the sizes."""
        super().__init__()
        self.encoder = Encoder(num_pixels, hidden, latent_dim)
        self.decoder = Decoder(latent_dim, hidden, num_pixels)
        self.prior, self.num_components = prior, num_components
        if prior == "vamp":
            # Pseudo-inputs are the columns of a linear map of the identity, clipped to [0, 1].
            self.pseudo_inputs = nn.Linear(num_components, num_pixels, bias=False)
            nn.init.normal_(self.pseudo_inputs.weight, 0.05, 0.01)
            self.register_buffer("identity", torch.eye(num_components))

    def log_prior(self, z: torch.Tensor) -> torch.Tensor:
        """log p(z) [batch]."""
        if self.prior == "standard":
            return -0.5 * torch.sum(z**2, -1)
        inputs: Any = self.identity
        mean, log_variance = self.encoder(nn.functional.hardtanh(self.pseudo_inputs(inputs), 0.0, 1.0))
        joint = log_normal(z[:, None], mean[None], log_variance[None]) - math.log(self.num_components)
        largest, _ = torch.max(joint, 1)
        return largest + torch.log(torch.sum(torch.exp(joint - largest[:, None]), 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The negative ELBO of one sample for each image [batch]."""
        mean, log_variance = self.encoder(x)
        z = mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean)
        p = torch.clamp(self.decoder(z), 1e-5, 1 - 1e-5)
        reconstruction = torch.sum(x * torch.log(p) + (1 - x) * torch.log(1 - p), -1)
        return -reconstruction - self.log_prior(z) + log_normal(z, mean, log_variance)

    def log_marginal(self, x: torch.Tensor, num_samples: int, chunk: int = 100) -> torch.Tensor:
        """Importance-weighted log p(x) of one image [pixels], chunk after chunk as the original does."""
        chunk = min(chunk, num_samples)
        with torch.no_grad():
            weights = [-self(x.expand(chunk, -1)) for _ in range(num_samples // chunk)]
            return torch.logsumexp(torch.cat(weights), 0) - math.log(len(weights) * chunk)


def pythae_vamp(num_pixels: int, hidden: list[int], latent_dim: int, num_components: int) -> Any:
    """pythae's own VAMP, its forward pass and its loss, with the networks above."""
    from pythae.models import VAMP, VAMPConfig
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn import BaseDecoder, BaseEncoder

    class PythaeEncoder(BaseEncoder):
        def __init__(self) -> None:
            super().__init__()
            self.network = Encoder(num_pixels, hidden, latent_dim)

        def forward(self, x: torch.Tensor) -> Any:
            mean, log_variance = self.network(x)
            return ModelOutput(embedding=mean, log_covariance=log_variance)

    class PythaeDecoder(BaseDecoder):
        def __init__(self) -> None:
            super().__init__()
            self.network = Decoder(latent_dim, hidden, num_pixels)

        def forward(self, z: torch.Tensor) -> Any:
            return ModelOutput(reconstruction=self.network(z))

    config = VAMPConfig(
        input_dim=(num_pixels,), latent_dim=latent_dim, reconstruction_loss="bce", number_components=num_components
    )
    return VAMP(config, PythaeEncoder(), PythaeDecoder())
