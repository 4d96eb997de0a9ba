"""Pure maths: tensors in, tensors out. No device, no files, no logging."""
