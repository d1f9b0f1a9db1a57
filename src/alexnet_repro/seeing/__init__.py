"""What a trained network sees: predictions, kernels, neighbours, and the paper's figures."""

import logging

# It tells which instructions of the processor it tries.
logging.getLogger("faiss.loader").setLevel(logging.WARNING)
