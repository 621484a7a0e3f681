"""What tests draw at random: te graphs and schedules. Needs hypothesis, so nothing else in the package imports it."""
