from .choice import EngineChoice as EngineChoice
from .names import (
    ENGINES as ENGINES,
)
from .names import (
    TORCH as TORCH,
)
from .names import (
    Way as Way,
)
from .names import (
    require_engine as require_engine,
)
from .names import (
    require_processor as require_processor,
)
from .names import (
    require_same_engine as require_same_engine,
)
