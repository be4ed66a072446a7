"""How fast and how large, as ratios: ``python -m eureka_lib.benchmark`` prints one table of them.

A millisecond says little about code, since it depends on the machine and on what else runs there. So each row is the
cost of something over that of a named baseline, both measured in turn (A B A B ...) and divided pair by pair: the
median of the pairs' ratios, and their quartiles. Where there is a ratio that the count of operations suggests
(``floor``), or one that we hold ourselves to (``bar``, at most), the row carries it.

A group of rows is a function ``Setting -> iterator of Row``; name groups on the command line to have only those.
``python -m eureka_lib.benchmark.search`` is how regimes and learning rates were found.
"""
