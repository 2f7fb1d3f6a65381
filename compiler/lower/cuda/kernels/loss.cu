// Rows of logits: a warp of threads for a row.

// log_normaliser is the logarithm of the sum of the exponentials of a row, to all threads of the warp: one pass, in which each
// thread keeps the largest of its numbers and the sum of the exponentials of their distances from it. S: classes, V.
template <class S, class P> __device__ inline float log_normaliser(P x, int row) {
  float largest = -3.402823466e+38f, sum = 0;
  for (int j = thread() % 32 * S::V; j < S::classes; j += 32 * S::V) {
    Pack<S::V> a = load<S::V>(x, row * S::classes + j);
    for (int v = 0; v < S::V; v++) {
      if (a.v[v] > largest) {
        sum *= expf(largest - a.v[v]);
        largest = a.v[v];
      }
      sum += expf(a.v[v] - largest);
    }
  }
  float all = warp_largest(largest);
  return all + logf(warp_sum(sum * expf(largest - all)));
}

// counted is how many labels are not negative, to all threads of the block.
template <class P> __device__ inline int counted(P labels, int rows) {
  int n = 0;
  for (int i = 0; i < rows; i += Threads) n += __syncthreads_count(i + thread() < rows && labels[smaller(i + thread(), rows - 1)] >= 0);
  return n;
}

// Softmax over the last axis. S: rows, classes, V, blocks.
template <class S> struct Softmax {
  In<float> x;
  Out<float> y;

  __device__ void run(int block) const {
    for (int row = block * (Threads / 32) + thread() / 32; row < S::rows; row += S::blocks * (Threads / 32)) {
      float normaliser = log_normaliser<S>(x, row);
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

// CrossEntropy: every block adds its rows up, and the last one to finish adds their sums in order. S: rows, classes, V,
// smoothing, mean, blocks (at most Threads).
template <class S> struct CrossEntropy {
  In<float> logits;
  In<int> labels;
  Out<float> loss;
  Out<double> partial;
  int counter;

  __device__ void run(int block) const {
    auto sums = shared<double>(0, Threads);
    double sum = 0;
    for (int row = block * (Threads / 32) + thread() / 32; row < S::rows; row += S::blocks * (Threads / 32))
      if (labels[row] >= 0) sum += of_row(row, labels[row]);
    if (thread() % 32 == 0) sums[thread() / 32] = sum;
    __syncthreads();
    if (thread() == 0) {
      double total = 0;
      for (int i = 0; i < Threads / 32; i++) total += sums[i];
      partial[block] = total;
    }
    if (!last_block(counter, S::blocks)) return;
    if (thread() < S::blocks) sums[thread()] = fresh(partial, thread());
    __syncthreads();
    int rows = S::mean ? larger(counted(labels, S::rows), 1) : 1;
    if (thread() != 0) return;
    double total = 0;
    for (int i = 0; i < S::blocks; i++) total += sums[i];
    loss[0] = (float)(total / rows);
  }

  // of_row is the loss of a row, to all threads of its warp.
  __device__ inline float of_row(int row, int label) const {
    float normaliser = log_normaliser<S>(logits, row);
    if (label >= S::classes) return 0;
    if constexpr (S::smoothing == 0) return normaliser - logits[row * S::classes + label];
    float sum = 0;
    for (int j = thread() % 32; j < S::classes; j += 32) {
      float target = S::smoothing / S::classes + (j == label ? 1 - S::smoothing : 0);
      sum -= target * (logits[row * S::classes + j] - normaliser);
    }
    return warp_sum(sum);
  }
};

// CrossEntropyGrad: the cotangent of the logits. S: rows, classes, V, smoothing, mean, blocks.
template <class S> struct CrossEntropyGrad {
  In<float> g, logits;
  In<int> labels;
  Out<float> dx;

  __device__ void run(int block) const {
    int rows = S::mean ? counted(labels, S::rows) : 1;
    float scale = g[0] / larger(rows, 1);
    for (int row = block * (Threads / 32) + thread() / 32; row < S::rows; row += S::blocks * (Threads / 32)) {
      int label = labels[row];
      float normaliser = log_normaliser<S>(logits, row);
      for (int j = thread() % 32 * S::V; j < S::classes; j += 32 * S::V) {
        Pack<S::V> a = load<S::V>(logits, row * S::classes + j);
        for (int v = 0; v < S::V; v++) {
          float target = S::smoothing / S::classes + (j + v == label ? 1 - S::smoothing : 0);
          a.v[v] = label < 0 ? 0 : scale * (expf(a.v[v] - normaliser) - target);
        }
        store<S::V>(dx, row * S::classes + j, a);
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
