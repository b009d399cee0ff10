"""The tiny encoder that says what a prompt demands, and what each model can give."""
