"""Doorstep's script for gdb: right in every mode of the CPU, from the boot sector to
the kernel.
"""
