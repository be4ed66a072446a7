"""Numbers that others have published, to be held against ours; none of them was measured here.

Born et al. 2025, *Quantum Doubly Stochastic Transformers*: a tiny ViT on the paper's main task (batch 512, 100 epochs,
5 seeds). How many seeds had their Eureka-moment within 100 epochs, and the final accuracy, by method and learning rate.
"""

FOLLOW_UP_SEEDS = 5
QUANTUM = "quantum circuit"  # theirs; there is none here
FOLLOW_UP: dict[tuple[str, float], tuple[int, float]] = {  # seeds with an Eureka-moment, mean final accuracy
    ("softmax", 1e-3): (0, 0.534),
    ("softmax", 7e-4): (0, 0.539),
    ("softmax", 5e-4): (1, 0.611),
    ("norm_softmax_var", 1e-3): (0, 0.486),
    ("norm_softmax_var", 7e-4): (0, 0.509),
    ("norm_softmax_var", 5e-4): (0, 0.510),
    ("sinkhorn", 1e-3): (0, 0.490),
    ("sinkhorn", 7e-4): (0, 0.509),
    ("sinkhorn", 5e-4): (0, 0.516),
    ("qr", 1e-3): (2, 0.612),
    ("qr", 7e-4): (4, 0.729),
    ("qr", 5e-4): (2, 0.664),
    (QUANTUM, 1e-3): (2, 0.700),
    (QUANTUM, 7e-4): (4, 0.823),
    (QUANTUM, 5e-4): (5, 0.894),
}
