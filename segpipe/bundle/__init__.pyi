from .cases import (
    RunLoader as RunLoader,
)
from .cases import (
    TrainingCases as TrainingCases,
)
from .cases import (
    class_weights as class_weights,
)
from .cases import (
    inference_cases as inference_cases,
)
from .check_run import check_configuration as check_configuration
from .draws import case_draws as case_draws
from .image_cases import ImageCases as ImageCases
from .image_cases import image_draws as image_draws
from .image_cases import image_weights as image_weights
from .image_files import images_to_classify as images_to_classify
from .image_labels import calibration as calibration
from .image_labels import categories as categories
from .labels import label_table as label_table
from .pretrained import (
    parameter_groups as parameter_groups,
)
from .pretrained import (
    peak_rates as peak_rates,
)
from .pretrained import (
    start_from as start_from,
)
from .process_group import join_process_group as join_process_group
from .process_group import leave_process_group as leave_process_group
from .process_group import local_device as local_device
from .process_group import share_batch_norms as share_batch_norms
from .scored_weights import (
    image_weights_to_score as image_weights_to_score,
)
from .scored_weights import (
    weights_to_score as weights_to_score,
)
from .setup import (
    check_device as check_device,
)
from .setup import (
    check_sizes as check_sizes,
)
from .setup import (
    check_window as check_window,
)
from .setup import (
    load_cases as load_cases,
)
from .setup import (
    make as make,
)
from .setup import (
    run_engine as run_engine,
)
from .setup import (
    start_run as start_run,
)
from .start_weights import start_from_weights as start_from_weights
from .weights import identity as identity
from .weights import start_from_vgg16 as start_from_vgg16
from .weights import with_weights as with_weights
