"""Ways of counting: plusone, and the recipes that people use instead. The lab puts the same questions to all."""
