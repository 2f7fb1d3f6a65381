// Updates of many tensors at once: tensor t has size[t] elements and the blocks from first[t] on, which do Span elements
// each. S: count.
template <class S> struct Tensors {
  static constexpr int Span = 4 * Threads;
  int size[S::count], first[S::count];

  // find says of which tensor a block does the elements from start up to end.
  __device__ inline int find(int block, int& start, int& end) const {
    int low = 0, high = S::count - 1;
    while (low < high) {
      int middle = (low + high + 1) / 2;
      if (first[middle] <= block) {
        low = middle;
      } else {
        high = middle - 1;
      }
    }
    start = (block - first[low]) * Span;
    end = smaller(size[low], start + Span);
    return low;
  }
};

// SGD (operation sgd). S: also momentum, decay.
template <class S> struct SGD {
  In<float> rate, scale;
  In<float> w[S::count], g[S::count], velocity[S::count];
  Out<float> w2[S::count], velocity2[S::count];
  Tensors<S> tensors;

  __device__ void run(int block) const {
    int start, end, t = tensors.find(block, start, end);
    float r = rate[0], s = scale[0];
    for (int i = start + thread(); i < end; i += Threads) {
      float old = w[t][i], v = S::momentum * velocity[t][i] + (s * g[t][i] + S::decay * old);
      velocity2[t][i] = v;
      w2[t][i] = old - r * v;
    }
  }
};

// Adam (operation adam). S: also beta1, beta2, eps, decay.
template <class S> struct Adam {
  In<float> rate, updates;
  In<float> p[S::count], g[S::count], m[S::count], v[S::count];
  Out<float> p2[S::count], m2[S::count], v2[S::count];
  Tensors<S> tensors;

  __device__ void run(int block) const {
    int start, end, t = tensors.find(block, start, end);
    double n = updates[0];
    float correction1 = (float)(1 / (1 - pow((double)S::beta1, n))), correction2 = (float)(1 / (1 - pow((double)S::beta2, n))), r = rate[0];
    for (int i = start + thread(); i < end; i += Threads) {
      float old = p[t][i], d = g[t][i] + (float)S::decay * old;
      float a = (float)S::beta1 * m[t][i] + (float)(1 - S::beta1) * d;
      float b = (float)S::beta2 * v[t][i] + (float)(1 - S::beta2) * d * d;
      m2[t][i] = a;
      v2[t][i] = b;
      p2[t][i] = old - r * correction1 * a / (sqrtf(b * correction2) + (float)S::eps);
    }
  }
};

// Squares: the sum of squares of all tensors, plus before if S::more; its root if S::root, which is the operation
// global_norm (many tensors are several launches). S: also more, root.
template <class S> struct Squares {
  In<float> x[S::count];
  In<double> before;
  Out<float> norm;
  Out<double> sum, partial;
  Tensors<S> tensors;
  int blocks;
  int counter;

  __device__ void run(int block) const {
    int start, end, t = tensors.find(block, start, end);
    double own = 0;
    for (int i = start + thread(); i < end; i += Threads) own += (double)x[t][i] * x[t][i];
    double total = block_sum(own);
    if (thread() == 0) partial[block] = total;
    if (!last_block(counter, blocks)) return;
    own = 0;
    for (int i = thread(); i < blocks; i += Threads) own += fresh(partial, i);
    total = block_sum(own);
    if (thread() != 0) return;
    if constexpr (S::more) total += before[0];
    if constexpr (S::root) {
      norm[0] = (float)sqrt(total);
    } else {
      sum[0] = total;
    }
  }

  __device__ static inline double block_sum(double v) {
    auto room = shared<double>(0, Threads);
    __syncthreads();
    room[thread()] = v;
    for (int half = Threads / 2; half > 0; half /= 2) {
      __syncthreads();
      if (thread() < half) room[thread()] = room[thread()] + room[thread() + half];
    }
    __syncthreads();
    return room[0];
  }
};

// ClipScale: min(1, max/(norm + 1e-6)) (operation clip_scale). S: most.
template <class S> struct ClipScale {
  In<float> norm;
  Out<float> scale;

  __device__ void run(int) const {
    if (thread() == 0) scale[0] = fminf(1.0f, S::most / (norm[0] + 1e-6f));
  }
};
