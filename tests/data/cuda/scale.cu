// SPDX-License-Identifier: Apache-2.0
//
// The source of libscale.so, a CUDA library that is recorded so that machines without nvcc can
// test what is read from one and decided by it. Made with CUDA 13.0 (V13.0.88) and g++ 12 in this
// folder by:
//
//   nvcc -gencode=arch=compute_80,code=sm_80 -cudart none -nodlink -shared -Xcompiler=-fPIC
//        -Xlinker=-s,--build-id=none -o libscale.so scale.cu
__global__ void scale(float* values, float factor) {
  values[threadIdx.x] *= factor;
}

extern "C" void scale_on_gpu(float* values, float factor) {
  scale<<<1, 32>>>(values, factor);
}
