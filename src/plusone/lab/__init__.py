"""The lab: what shows on a deployment of your own that counting is exact."""
