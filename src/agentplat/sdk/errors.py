"""What a block raises when it cannot do its work."""


class BlockError(ValueError):
    """An expected failure: bad input, a missing file, a refusing service.

    Its text becomes the value of the block's `error` pin, so write it for the person who built the agent. Any other
    exception is reported in the same way but counts as a defect of the block and is logged with its traceback.
    """
