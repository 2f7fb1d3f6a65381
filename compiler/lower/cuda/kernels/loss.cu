// Rows of logits: a warp of threads for a row.

__device__ inline float warp_sum(float v) {
  for (int d = 16; d > 0; d /= 2) v += __shfl_xor_sync(0xffffffffu, v, d);
  return v;
}

__device__ inline float warp_largest(float v) {
  for (int d = 16; d > 0; d /= 2) v = fmaxf(v, __shfl_xor_sync(0xffffffffu, v, d));
  return v;
}

// log_normaliser is the logarithm of the sum of the exponentials of a row, to all threads of the warp.
template <class P> __device__ inline float log_normaliser(P x, int row, int classes) {
  int lane = thread() % 32;
  float largest = -3.402823466e+38f, sum = 0;
  for (int j = lane; j < classes; j += 32) largest = fmaxf(largest, x[row * classes + j]);
  largest = warp_largest(largest);
  for (int j = lane; j < classes; j += 32) sum += expf(x[row * classes + j] - largest);
  return largest + logf(warp_sum(sum));
}

// counted is how many labels are not negative, to all threads of the block.
template <class P> __device__ inline int counted(P labels, int rows) {
  int n = 0;
  for (int i = 0; i < rows; i += Threads) n += __syncthreads_count(i + thread() < rows && labels[smaller(i + thread(), rows - 1)] >= 0);
  return n;
}

// Softmax over the last axis. S: rows, classes, blocks.
template <class S> struct Softmax {
  In<float> x;
  Out<float> y;

  __device__ void run(int block) const {
    for (int row = block * (Threads / 32) + thread() / 32; row < S::rows; row += S::blocks * (Threads / 32)) {
      float normaliser = log_normaliser(x, row, S::classes);
      for (int j = thread() % 32; j < S::classes; j += 32) y[row * S::classes + j] = expf(x[row * S::classes + j] - normaliser);
    }
  }
};

// SoftmaxGrad: y·(g - Σ g·y).
template <class S> struct SoftmaxGrad {
  In<float> g, y;
  Out<float> dx;

  __device__ void run(int block) const {
    for (int row = block * (Threads / 32) + thread() / 32; row < S::rows; row += S::blocks * (Threads / 32)) {
      float sum = 0;
      for (int j = thread() % 32; j < S::classes; j += 32) sum += g[row * S::classes + j] * y[row * S::classes + j];
      sum = warp_sum(sum);
      for (int j = thread() % 32; j < S::classes; j += 32) {
        int i = row * S::classes + j;
        dx[i] = y[i] * (g[i] - sum);
      }
    }
  }
};

// CrossEntropy, in one block. S: rows, classes, smoothing, mean.
template <class S> struct CrossEntropy {
  In<float> logits;
  In<int> labels;
  Out<float> loss;

  __device__ void run(int) const {
    int rows = counted(labels, S::rows);
    auto sums = shared<double>(0, Threads / 32);
    double sum = 0;
    for (int row = thread() / 32; row < S::rows; row += Threads / 32) {
      int label = labels[row];
      if (label < 0) continue;
      float normaliser = log_normaliser(logits, row, S::classes), smooth = 0;
      for (int j = thread() % 32; j < S::classes; j += 32) {
        float target = S::smoothing / S::classes + (j == label ? 1 - S::smoothing : 0);
        if (target != 0) smooth -= target * (logits[row * S::classes + j] - normaliser);
      }
      sum += warp_sum(smooth);
    }
    if (thread() % 32 == 0) sums[thread() / 32] = sum;
    __syncthreads();
    if (thread() != 0) return;
    double total = 0;
    for (int i = 0; i < Threads / 32; i++) total += sums[i];
    loss[0] = (float)(S::mean ? total / larger(rows, 1) : total);
  }
};

// CrossEntropyGrad: the cotangent of the logits. S: rows, classes, smoothing, mean, blocks.
template <class S> struct CrossEntropyGrad {
  In<float> g, logits;
  In<int> labels;
  Out<float> dx;

  __device__ void run(int block) const {
    int rows = S::mean ? counted(labels, S::rows) : 1;
    float scale = g[0] / larger(rows, 1);
    for (int row = block * (Threads / 32) + thread() / 32; row < S::rows; row += S::blocks * (Threads / 32)) {
      int label = labels[row];
      float normaliser = log_normaliser(logits, row, S::classes);
      for (int j = thread() % 32; j < S::classes; j += 32) {
        float target = S::smoothing / S::classes + (j == label ? 1 - S::smoothing : 0);
        int i = row * S::classes + j;
        dx[i] = label < 0 ? 0 : scale * (expf(logits[i] - normaliser) - target);
      }
    }
  }
};

// Correct: how many rows have their label among the k largest logits, in one block. S: rows, classes, k.
template <class S> struct Correct {
  In<float> logits;
  In<int> labels;
  Out<float> count;

  __device__ void run(int) const {
    int total = 0;
    for (int from = 0; from < S::rows; from += Threads) {
      int row = from + thread();
      bool right = false;
      if (row < S::rows) {
        int label = labels[row], better = 0;
        if (label >= 0 && label < S::classes) {
          float own = logits[row * S::classes + label];
          for (int j = 0; j < S::classes; j++) {
            float v = logits[row * S::classes + j];
            better += v > own || (v == own && j < label);
          }
          right = better < S::k;
        }
      }
      total += __syncthreads_count(right);
    }
    if (thread() == 0) count[0] = (float)total;
  }
};

// BiasAdd: y = x + bias by column. S: size, columns, blocks.
template <class S> struct BiasAdd {
  In<typename S::Image> x;
  In<float> bias;
  Out<typename S::Image> y;

  __device__ void run(int block) const {
    for (int i = block * Threads + thread(); i < S::size; i += S::blocks * Threads) y[i] = x[i] + bias[i % S::columns];
  }
};
