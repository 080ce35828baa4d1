"""Where the figures of the catalogue are from. Makers' own papers, and what drivers print."""

_NVIDIA = "https://www.nvidia.com/content/dam/en-zz/Solutions"
_IMAGES = "https://images.nvidia.com/aem-dam"
_AMD = "https://www.amd.com/content/dam/amd/en/documents/instinct-tech-docs"
_SYSTEMS = (
    "https://github.com/ai-dynamo/aiconfigurator/blob/main/aic-core/src/aiconfigurator_core/systems"
)

T4 = f"{_NVIDIA}/Data-Center/tesla-t4/t4-tensor-core-datasheet-951643.pdf"
A10 = f"{_NVIDIA}/Data-Center/a10/pdf/datasheet-new/nvidia-a10-datasheet.pdf"
A10G = (
    "https://d1.awsstatic.com/product-marketing/ec2/NVIDIA_AWS_A10G_DataSheet_FINAL_02_17_2022.pdf"
)
A30 = f"{_NVIDIA}/data-center/products/a30-gpu/pdf/a30-datasheet.pdf"
A40 = "https://images.nvidia.cn/content/Solutions/data-center/a40/nvidia-a40-datasheet.pdf"
GA102 = "https://www.nvidia.com/content/PDF/nvidia-ampere-ga-102-gpu-architecture-whitepaper-v2.pdf"
A100 = f"{_NVIDIA}/Data-Center/a100/pdf/nvidia-a100-datasheet-us-nvidia-1758950-r4-web.pdf"
TENSORRT_LLM = (
    "https://github.com/NVIDIA/TensorRT-LLM/blob/v0.21.0/tensorrt_llm/auto_parallel/cluster_info.py"
)
A800 = "https://aiwiki.ai/wiki/nvidia_a800"
H800 = "https://arxiv.org/abs/2505.09343"
L4 = "https://nvdam.widen.net/s/rvq98gbwsw/l4-datasheet-2595652"
L40 = "https://images.nvidia.cn/content/Solutions/data-center/vgpu-L40-datasheet.pdf"
L40S = "https://resources.nvidia.com/en-us-l40s/l40s-datasheet-28413"
ADA = f"{_IMAGES}/Solutions/geforce/ada/nvidia-ada-gpu-architecture.pdf"
ADA_PRO = (
    f"{_IMAGES}/en-zz/Solutions/technologies/NVIDIA-ADA-GPU-PROVIZ-Architecture-Whitepaper_1.1.pdf"
)
RTX_6000_ADA = (
    f"{_NVIDIA}/design-visualization/rtx-6000/proviz-print-rtx6000-datasheet-web-2504660.pdf"
)
H100 = "https://resources.nvidia.com/en-us-tensor-core/nvidia-tensor-core-gpu-datasheet"
H20 = "https://zangshuxian.com/new/674733024499207168"
H20_LINKS = (
    "https://www.tweaktown.com/news/95224/nvidias-tweaked-h20-ai-gpu-enters-mass-production-in-"
    "q2-2024-destined-for-china/index.html"
)
H200 = "https://nvdam.widen.net/s/nb5zzzsjdf/hpc-datasheet-sc23-h200-datasheet-3002446"
RTX_BLACKWELL = f"{_IMAGES}/Solutions/geforce/blackwell/nvidia-rtx-blackwell-gpu-architecture.pdf"
BLACKWELL = "https://nvdam.widen.net/s/wwnsxrhm2w/blackwell-datasheet-3384703"
BLACKWELL_ULTRA = (
    "https://resources.nvidia.com/en-us-blackwell-architecture/blackwell-ultra-datasheet"
)
HGX = "https://www.nvidia.com/en-us/data-center/hgx/"
RTX_PRO_SERVER = "https://www.nvidia.com/en-us/data-center/rtx-pro-6000-blackwell-server-edition/"

MI210 = "https://www.amd.com/en/products/accelerators/instinct/mi200/mi210.html"
MI250X = "https://www.amd.com/en/products/accelerators/instinct/mi200/mi250x.html"
MI300X = f"{_AMD}/data-sheets/amd-instinct-mi300x-data-sheet.pdf"
MI300X_KERNELS = "https://arxiv.org/abs/2510.27583"
MI325X = f"{_AMD}/product-briefs/instinct-mi325x-datasheet.pdf"
MI355X = "https://www.amd.com/en/products/accelerators/instinct/mi350/mi355x.html"
GAUDI = "https://www.sgpjbg.com/baogao/465025.html"
GAUDI_LINKS = (
    "https://docs.habana.ai/en/latest/Management_and_Monitoring/Network_Configuration/index.html"
)

L40S_SYSTEM = f"{_SYSTEMS}/l40s.yaml"
B200_SYSTEM = f"{_SYSTEMS}/b200_sxm.yaml"
B300_SYSTEM = f"{_SYSTEMS}/b300_sxm.yaml"
GB200_SYSTEM = f"{_SYSTEMS}/gb200.yaml"
GB300_SYSTEM = f"{_SYSTEMS}/gb300.yaml"

MODAL_SMI = "https://github.com/modal-labs/modal-client/pull/2797"
A10G_SMI = "https://github.com/NVIDIA/DCGM/issues/232"
H100_NVL_SMI = "https://github.com/NVIDIA/gpu-admin-tools/issues/4"
RTX_5090_SMI = "https://github.com/noonghunna/club-3090/issues/617"
RTX_4090_SMI = "https://github.com/vllm-project/vllm/issues/7553"
B200_DRIVER = "https://github.com/pytorch/ao/pull/4002"
