"""Weights as integers and scales. Algorithms are here; how a format packs what they make is the formats' own matter.

scheme       what is wanted of a matrix (`Scheme`), of a model (`Plan`), and what is made (`Quantised`)
rounding     round to nearest; scales that are searched
hqq          half-quadratic scales and zero points, without data
gptq         column by column, with the inputs' second moments
awq          scales of input channels, folded into the layer before
statistics   what is known of a layer's inputs; calibration rows
blocks       a model as a chain of blocks, so that calibration runs block by block
planning     which weight of a model gets which scheme
applying     a plan applied to a model: {weight name: Quantised}
activations  the inputs of layers in 8 bits
sensitivity  what each weight's bits are worth, and a plan of so many bits a weight
"""

from ptft.core.quantising.scheme import Plan, Quantised, Scheme

__all__ = ["Plan", "Quantised", "Scheme"]
