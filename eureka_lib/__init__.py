"""Eureka-moments in transformers: tasks, models and training utilities behind the notebooks.

Hoffmann et al., *Eureka-Moments in Transformers: Multi-Step Tasks Reveal Softmax Induced Optimization Problems*,
ICML 2024.
"""

__version__ = "0.1.0"
