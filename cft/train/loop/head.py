"""The loss of a frozen output layer without its logits: chunk by chunk, with the gradient computed on the way.

With a vocabulary of 150,000 the logits of 700 positions are 0.4 GB, and a plain cross-entropy holds them three times.
The gradient that the hidden states need is known as soon as a chunk's softmax is, so nothing has to be kept or computed
a second time (the idea of Liger Kernel's fused linear cross-entropy, arXiv 2410.10989, section 3.2). The layer itself
gets no gradient: an adapter's base is frozen.
"""

import torch

CHUNK = 256  # positions; 128 to 700 take the same time on a CPU, and 256 x 150,000 float32 are 0.15 GB


class FrozenHeadLoss(torch.autograd.Function):
    """Summed negative log-likelihood of `targets` (K,) under softmax(hidden @ weight.T + bias); hidden is (K, D)."""

    @staticmethod
    def forward(ctx, hidden, weight, bias, targets):
        gradient = torch.empty_like(hidden)
        total = torch.zeros((), dtype=torch.float32, device=hidden.device)
        for start in range(0, len(hidden), CHUNK):
            part = slice(start, start + CHUNK)
            wanted = targets[part, None]
            logits = torch.nn.functional.linear(hidden[part], weight, bias).float()  # (C, V)
            log_sum = logits.logsumexp(-1, keepdim=True)
            total += (log_sum - logits.gather(1, wanted)).sum()
            logits.sub_(log_sum).exp_()  # now the probabilities, then their difference to the targets
            logits.scatter_add_(1, wanted, torch.full_like(wanted, -1, dtype=logits.dtype))
            gradient[part] = logits.to(weight.dtype) @ weight
        ctx.save_for_backward(gradient)
        return total

    @staticmethod
    def backward(ctx, grad):
        (gradient,) = ctx.saved_tensors
        return gradient * grad.to(gradient.dtype), None, None, None


def is_plain_frozen_head(model: torch.nn.Module) -> bool:
    """Whether the model's logits are its frozen output layer applied to its last hidden state, and nothing else.

    Found by trying: some models scale or cap their logits.

    Args:
        model: a causal language model of transformers, its adapter in place.
    """
    head = model.get_output_embeddings()
    if type(head) is not torch.nn.Linear or any(p.requires_grad for p in head.parameters()):
        return False
    ids = torch.arange(3, device=head.weight.device)[None]
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            hidden = model.base_model(input_ids=ids, use_cache=False).last_hidden_state
            logits = model(input_ids=ids, use_cache=False).logits
            return torch.equal(head(hidden.to(head.weight.dtype)), logits.to(head.weight.dtype))
    finally:
        model.train(training)
