"""Everything that is done to the softmax of self-attention, and to its gradients."""
