"""The flow and token transformers in plain PyTorch, of the same sizes, to compare frameworks.

Streams of audio, video, text and transcript attend jointly, each with its own weights, followed by layers of
audio alone; adaLN with one condition per position; QK-norm and rotary embeddings of times; SwiGLU with a
depthwise convolution. Omitted are parts of negligible cost: masks, pooled conditions, learned nulls.

  python benchmarks/torch_baseline.py --config flow_0.6b --batch-size 64

Requires torch, unlike everything else in this repository. Loss and gradient are compiled by torch.compile;
FLOPs are counted by torch's own counter.
"""

import statistics
import sys
import time

import accelerator
import torch
from torch import nn
from torch.nn import functional
from torch.utils import flop_counter

from v2a import entry_point
from v2a import flags

STREAMS = ('audio', 'video', 'text', 'transcript')


def norm(x):
  """Layer norm without parameters."""
  return functional.layer_norm(x, x.shape[-1:])


def rotate(x_BSHE, time_S):
  """Applies rotary position embeddings."""
  half = x_BSHE.shape[-1] // 2
  period_E = torch.logspace(-0.8, 1.9, half, device=x_BSHE.device)
  angle_S1E = (6.2832 * time_S[:, None] / period_E)[:, None]
  cos, sin = angle_S1E.cos().to(x_BSHE.dtype), angle_S1E.sin().to(x_BSHE.dtype)
  first, second = x_BSHE[..., :half], x_BSHE[..., half:]
  return torch.cat([first * cos - second * sin, first * sin + second * cos], dim=-1)


class Stream(nn.Module):
  """The layers of one stream in a block."""

  def __init__(self, width, num_heads, mlp_ratio, conv_size):
    super().__init__()
    hidden = int(width * mlp_ratio)
    self.num_heads = num_heads
    self.modulation = nn.Linear(width, 6 * width)
    self.qkv = nn.Linear(width, 3 * width, bias=False)
    self.query_norm, self.key_norm = (nn.RMSNorm(width // num_heads, eps=1e-6) for _ in range(2))
    self.out = nn.Linear(width, width)
    self.conv = nn.Conv1d(width, width, conv_size, padding='same', groups=width) if conv_size else None
    self.gate, self.up = nn.Linear(width, hidden), nn.Linear(width, hidden)
    self.down = nn.Linear(hidden, width)

  def pre_attention(self, x, c, time_S):
    """Returns queries, keys, values, and the modulation for `post_attention`."""
    shift, scale, *rest = self.modulation(functional.silu(c)).chunk(6, dim=-1)
    q, k, v = self.qkv(norm(x) * (1 + scale) + shift).chunk(3, dim=-1)
    heads = lambda y: y.unflatten(-1, (self.num_heads, -1))
    q, k = self.query_norm(heads(q)), self.key_norm(heads(k))
    if time_S is not None:
      q, k = rotate(q, time_S), rotate(k, time_S)
    return (q, k, heads(v)), rest

  def post_attention(self, x, y, rest):
    """Returns the stream after adding attention output and MLP."""
    gate, shift, scale, mlp_gate = rest
    x = x + gate * self.out(y.flatten(-2))
    h = norm(x) * (1 + scale) + shift
    if self.conv is not None:
      h = self.conv(h.transpose(1, 2)).transpose(1, 2)
    return x + mlp_gate * self.down(functional.silu(self.gate(h)) * self.up(h))


class KeyValueStream(nn.Module):
  """A stream of the last joint block whose output is not used: keys and values only."""

  def __init__(self, width, num_heads):
    super().__init__()
    self.num_heads = num_heads
    self.modulation = nn.Linear(width, 2 * width)
    self.kv = nn.Linear(width, 2 * width, bias=False)
    self.key_norm = nn.RMSNorm(width // num_heads, eps=1e-6)

  def pre_attention(self, x, c, time_S):
    """Returns (None, keys, values), and no modulation."""
    shift, scale = self.modulation(functional.silu(c)).chunk(2, dim=-1)
    k, v = (
      y.unflatten(-1, (self.num_heads, -1)) for y in self.kv(norm(x) * (1 + scale) + shift).chunk(2, dim=-1)
    )
    k = self.key_norm(k)
    return (None, k if time_S is None else rotate(k, time_S), v), None


def attend(q, k, v, is_causal=False):
  """Softmax attention; arguments and result BSHE."""
  q, k, v = (x.transpose(1, 2) for x in (q, k, v))
  return functional.scaled_dot_product_attention(q, k, v, is_causal=is_causal).transpose(1, 2)


class Transformer(nn.Module):
  """Predicts velocities of noisy latents, or logits of tokens, from features."""

  def __init__(self, c):
    super().__init__()
    self.is_flow, self.clip_s = c.task == 'flow', c.clip.clip_s
    sizes, features = c.flow if self.is_flow else c.tokens, c.conditioning.width
    width = sizes.width
    conv_size = sizes.conv_size if self.is_flow else 0
    self.num_codebooks, self.codebook_size = c.codec.num_codebooks, c.codec.codebook_size
    stream = lambda name: Stream(
      width, sizes.num_heads, sizes.mlp_ratio, conv_size if name in ('audio', 'video') else 0
    )
    if self.is_flow:
      self.audio_in = nn.Linear(c.codec.num_latent_channels, width)
      self.out = nn.Linear(width, c.codec.num_latent_channels)
      self.time_in, self.time_out = nn.Linear(width, width), nn.Linear(width, width)
    else:
      self.tables = nn.Parameter(torch.randn(self.num_codebooks, self.codebook_size + 2, width))
      self.out = nn.Linear(width, self.num_codebooks * self.codebook_size)
    self.inputs = nn.ModuleDict({name: nn.Linear(features, width) for name in STREAMS[1:]})
    self.sync_gate, self.sync_up = nn.Linear(features, 2 * width), nn.Linear(features, 2 * width)
    self.sync_down, self.sync_out = nn.Linear(2 * width, features), nn.Linear(features, width)
    self.joint = nn.ModuleList(
      nn.ModuleDict({name: stream(name) for name in STREAMS}) for _ in range(sizes.num_joint_layers - 1)
    )
    self.joint.append(
      nn.ModuleDict(
        {
          name: stream(name) if name == 'audio' else KeyValueStream(width, sizes.num_heads)
          for name in STREAMS
        }
      )
    )
    self.audio_only = nn.ModuleList(stream('audio') for _ in range(sizes.num_audio_layers))
    self.final = nn.Linear(width, 2 * width)

  def forward(self, audio, t_B, batch):
    """Args: noisy latents BTC and their timesteps, or codes BTK and None; features."""
    sync = batch['sync_BLD']
    sync = sync + self.sync_down(functional.silu(self.sync_gate(sync)) * self.sync_up(sync))
    sync = functional.interpolate(self.sync_out(sync).transpose(1, 2), audio.shape[1]).transpose(1, 2)
    if self.is_flow:
      x = self.audio_in(audio)
      frequency = torch.logspace(-0.6, 2.4, x.shape[-1] // 2, device=x.device)
      angle = 6.2832 * t_B[:, None] * frequency
      features = torch.cat([angle.cos(), angle.sin()], dim=-1)
      c_global = self.time_out(functional.silu(self.time_in(features)))[:, None]
    else:
      x = sum(self.tables[codebook][audio[..., codebook]] for codebook in range(self.num_codebooks))
      c_global = torch.zeros_like(sync[:, :1])
    c_audio = c_global + sync
    streams = {
      'audio': x,
      'video': self.inputs['video'](batch['semantic_BMD']),
      'text': self.inputs['text'](batch['text_BUD']),
      'transcript': self.inputs['transcript'](batch['transcript_BWD']),
    }
    times = {
      name: None if name == 'text' else torch.linspace(0, self.clip_s, value.shape[1], device=x.device)
      for name, value in streams.items()
    }
    for block in self.joint:
      streams = self._joint_block(block, streams, times, c_audio, c_global)
    x = streams['audio']
    for block in self.audio_only:
      qkv, rest = block.pre_attention(x, c_audio, times['audio'])
      x = block.post_attention(x, attend(*qkv, is_causal=not self.is_flow), rest)
    shift, scale = self.final(functional.silu(c_audio)).chunk(2, dim=-1)
    return self.out(norm(x) * (1 + scale) + shift)

  def _joint_block(self, block, streams, times, c_audio, c_global):
    inputs = {
      name: block[name].pre_attention(x, c_audio if name == 'audio' else c_global, times[name])
      for name, x in streams.items()
    }
    queried = [name for name in STREAMS if inputs[name][0][0] is not None]
    q = torch.cat([inputs[name][0][0] for name in queried], dim=1)
    k, v = (torch.cat([inputs[name][0][i] for name in STREAMS], dim=1) for i in (1, 2))
    # Attention is not masked here: the prefix of tokens would not attend to the steps, at the same FLOPs.
    attended = attend(q, k, v).split([streams[name].shape[1] for name in queried], dim=1)
    return {
      name: block[name].post_attention(streams[name], y, inputs[name][1])
      for name, y in zip(queried, attended)
    }


def loss(model, batch):
  """Returns the flow-matching or next-token loss."""
  with torch.autocast(batch['sync_BLD'].device.type, torch.bfloat16):
    if model.is_flow:
      x_BTC = batch['latent_BTC']
      t_B, e_BTC = torch.rand(len(x_BTC), device=x_BTC.device), torch.randn_like(x_BTC)
      z_BTC = torch.lerp(x_BTC, e_BTC, t_B[:, None, None])
      return functional.mse_loss(model(z_BTC, t_B, batch).float(), e_BTC - x_BTC)
    code_BTK = batch['code_BTK'].long()
    before_BTK = functional.pad(code_BTK[:, :-1], (0, 0, 1, 0), value=model.codebook_size)
    logits = model(before_BTK, None, batch).float().unflatten(-1, (model.num_codebooks, -1))
    return functional.cross_entropy(logits.flatten(0, 2), code_BTK.flatten())


class Step:
  """Loss, gradient, clipping, AdamW and moving average, like the step of v2a."""

  def __init__(self, c, device):
    self.model = Transformer(c).to(device)
    self.average = [parameter.detach().clone() for parameter in self.model.parameters()]
    self.optimizer = torch.optim.AdamW(
      self.model.parameters(), lr=c.training.learning_rate, fused=device.type == 'cuda'
    )
    self._loss = loss

  def compile(self):
    """Compiles loss and gradient."""
    self._loss = torch.compile(loss)

  def __call__(self, batch):
    value = self._loss(self.model, batch)
    value.backward()
    nn.utils.clip_grad_norm_(self.model.parameters(), 1.0, foreach=True)
    self.optimizer.step()
    self.optimizer.zero_grad(set_to_none=True)
    torch._foreach_lerp_(self.average, [parameter.detach() for parameter in self.model.parameters()], 1e-4)
    return value


def _run(argv: list[str] | None) -> int:
  """Times the training step."""
  parser = flags.Parser(prog='torch_baseline.py', description=__doc__.splitlines()[0])
  args, found = accelerator.parse_arguments(parser, argv)
  device = torch.device('cuda' if torch.cuda.is_available() else 'cpu')
  for c in found:
    measure(c, args.num_steps, device)
  return 0


def measure(c, num_steps: int, device) -> None:
  """Prints the time of a step of one configuration."""
  batch = {name: torch.as_tensor(value, device=device) for name, value in accelerator.random_batch(c).items()}
  step = Step(c, device)
  with flop_counter.FlopCounterMode(display=False) as counter:
    loss(step.model, {name: value[:1] for name, value in batch.items()}).backward()
  step.compile()
  seconds = []
  for _ in range(accelerator.NUM_ROUNDS + 1):
    begin_s = time.perf_counter()
    for _ in range(num_steps):
      step(batch)
    if device.type == 'cuda':
      torch.cuda.synchronize()
    seconds.append((time.perf_counter() - begin_s) / num_steps)
  kind = torch.cuda.get_device_name() if device.type == 'cuda' else 'cpu'
  num_parameters = sum(parameter.numel() for parameter in step.model.parameters())
  num_flops = counter.get_total_flops() * c.training.batch_size
  accelerator.print_step_time('torch', kind, c, num_parameters, num_flops, statistics.median(seconds[1:]))


def main(argv: list[str] | None = None) -> int:
  """Runs the command; returns its exit code."""
  return entry_point.run('torch_baseline.py', lambda: _run(argv))


if __name__ == '__main__':
  sys.exit(main())
