"Is this optimizer right? It is compared with a reference, and tried as training loops use it."
