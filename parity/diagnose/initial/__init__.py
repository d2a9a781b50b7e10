"""How parameters begin: values, distributions, and their names."""
