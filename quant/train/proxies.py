# SPDX-License-Identifier: Apache-2.0
"""What stands between a Brevitas layer and a `FormatQuant`."""

from brevitas.proxy import ActQuantProxyFromInjector, WeightQuantProxyFromInjector
from torch import nn

from .format_quant import FormatQuant

__all__ = ["ActivationProxy", "WeightProxy", "quantiser_of"]


def quantiser_of(proxy):
    """The `FormatQuant` inside a proxy, or None."""
    modules = proxy.modules() if isinstance(proxy, nn.Module) else ()
    return next((module for module in modules if isinstance(module, FormatQuant)), None)


class WeightProxy(WeightQuantProxyFromInjector):
    """Gives plain tensors: a value of these formats need not be an integer times the scale.

    ``scale()`` has the axes of the weight; of blocks and groups it is the scale of each weight.
    """

    @property
    def input_view_impl(self):
        return nn.Identity()

    def create_quant_tensor(self, qt_args):
        return qt_args[0]

    def retrieve_attribute(self, attribute):
        if not self.is_quant_enabled:
            return None
        return getattr(self.tensor_quant(self.tracked_parameter_list[0]), attribute)


class ActivationProxy(ActQuantProxyFromInjector):
    """Gives plain tensors.

    ``scale()`` is that of the tensor; None where each block has its own and the tensor none.
    """

    @property
    def input_view_impl(self):
        return nn.Identity()

    def create_quant_tensor(self, qt_args, x):
        return qt_args[0]

    def retrieve_attribute(self, attribute, force_eval):
        if not self.is_quant_enabled:
            return None
        if attribute != "scale":
            return getattr(quantiser_of(self), attribute)
        scaling = getattr(quantiser_of(self), "scaling", None)
        return scaling and scaling(None)
