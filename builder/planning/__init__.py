"""From a Dockerfile to the IR: stages, variables, what each instruction does. Pure, but for the memory of earlier plans."""
