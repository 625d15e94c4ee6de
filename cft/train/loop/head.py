"""Loss and log-probabilities of a frozen output layer without its logits: in chunks, each with its gradient.

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


class FrozenHeadLogProbs(torch.autograd.Function):
    """Log-probability (K,) of each target (K,), and entropy (K,), of softmax(head(hidden) / temperature); float32.

    hidden is (K, D). The gradients of both towards it are computed on the way, (K, D) each, that of the entropy only
    with `entropy_trains`.
    """

    @staticmethod
    def forward(ctx, hidden, weight, bias, targets, temperature, entropy_trains):
        log_probs = torch.empty(len(hidden), dtype=torch.float32, device=hidden.device)
        entropies, towards = torch.empty_like(log_probs), torch.empty_like(hidden)
        entropy_towards = torch.empty_like(hidden) if entropy_trains else None
        for start in range(0, len(hidden), CHUNK):
            part = slice(start, start + CHUNK)
            wanted = targets[part, None]
            logits = torch.nn.functional.linear(hidden[part], weight, bias).float().div_(temperature)  # (C, V)
            logits.sub_(logits.logsumexp(-1, keepdim=True))  # log p
            log_probs[part] = logits.gather(1, wanted)[:, 0]
            probabilities = logits.exp()
            entropy = -torch.linalg.vecdot(probabilities, logits)
            entropies[part] = entropy
            if entropy_trains:  # dH / dlogit = -p (log p + H)
                logits.add_(entropy[:, None]).mul_(probabilities).neg_()
                entropy_towards[part] = logits.to(weight.dtype) @ weight
            probabilities.neg_().scatter_add_(1, wanted, torch.ones_like(wanted, dtype=logits.dtype))
            towards[part] = probabilities.to(weight.dtype) @ weight
        ctx.temperature = temperature
        ctx.save_for_backward(towards, entropy_towards)
        if not entropy_trains:
            ctx.mark_non_differentiable(entropies)
        return log_probs, entropies

    @staticmethod
    def backward(ctx, grad, entropy_grad):
        towards, entropy_towards = ctx.saved_tensors
        total = grad[:, None] * towards
        if entropy_towards is not None:
            total = total + entropy_grad[:, None] * entropy_towards
        return (total / ctx.temperature).to(towards.dtype), None, None, None, None, None


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
