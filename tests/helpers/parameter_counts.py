"""How many parameters a layer has, by formulas written down by hand."""


def conv_bn(k, c_in, c_out):
    """A kernel of k weights for each pair of channels, no bias; scale and bias of its BN."""
    return k * c_in * c_out + 2 * c_out


def head(c, hidden=256, classes=3):
    return c * hidden + hidden + hidden * classes + classes


def cam(c, r=4):
    return 2 * (conv_bn(1, c, c // r) + conv_bn(1, c // r, c))
