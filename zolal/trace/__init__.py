"""zolal trace: a program's kernel calls under the lines of Python that made them."""
