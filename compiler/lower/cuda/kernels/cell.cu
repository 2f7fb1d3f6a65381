// BatchNorm in recurrent cells, with what comes before and after it in one launch: states have few rows, so that a block holds
// all rows of some channels, a thread every 256th row of them, from the first pass over memory to the last.
// S: rows, channels, V (channels of a block), eps.

// ColumnSum are sums over the rows of V channels. They are double: of few rows, what cancels is most of it.
template <int V> struct ColumnSum {
  double v[V];
  __device__ inline ColumnSum() {
    for (int k = 0; k < V; k++) v[k] = 0;
  }

  // of_block is the sum of what the threads of the block have, to all of them.
  __device__ inline void of_block() {
    constexpr int Warps = Threads / 32;
    auto room = shared<double>(0, Warps * V);
    __syncthreads(); // who has used it before has read the room
    for (int k = 0; k < V; k++) {
      double sum = warp_sum(v[k]);
      if (thread() % 32 == 0) room[thread() / 32 * V + k] = sum;
    }
    __syncthreads();
    for (int k = 0; k < V; k++) {
      v[k] = 0;
      for (int w = 0; w < Warps; w++) v[k] += room[w * V + k];
    }
  }
};

// HighwayNorm: a node, its statistics, the normalised node and, if S::masked, that times a mask (operations highway →
// batch_stats → batch_norm → mul). S: also those of Highway.
template <class S> struct HighwayNorm {
  In<float> weights;
  In<float> product[S::terms], state[S::terms];
  In<float> mask;
  Out<float> y, mean, variance, normed, dropped;
  int edge[S::terms], from[S::terms], width[S::terms];

  __device__ void run(int block) const {
    constexpr int V = S::V, Rows = ceiling(S::rows, Threads);
    int channel = block * V;
    Pack<V> x[Rows];
    ColumnSum<V> center, square;
#pragma unroll
    for (int r = 0; r < Rows; r++) {
      int row = r * Threads + thread();
      if (row >= S::rows) continue;
      x[r] = HighwayNode<S>::at(*this, row, channel);
      store<V>(y, row * S::channels + channel, x[r]);
      for (int v = 0; v < V; v++) center.v[v] += x[r].v[v];
    }
    center.of_block();
    for (int v = 0; v < V; v++) center.v[v] /= S::rows;
#pragma unroll
    for (int r = 0; r < Rows; r++) {
      if (r * Threads + thread() >= S::rows) continue;
      for (int v = 0; v < V; v++) square.v[v] += (x[r].v[v] - center.v[v]) * (x[r].v[v] - center.v[v]);
    }
    square.of_block();
    for (int v = 0; v < V; v++) {
      square.v[v] /= S::rows;
      if (thread() == 0) mean[channel + v] = (float)center.v[v], variance[channel + v] = (float)square.v[v];
      square.v[v] = 1 / sqrt(square.v[v] + S::eps);
    }
#pragma unroll
    for (int r = 0; r < Rows; r++) {
      int row = r * Threads + thread(), i = row * S::channels + channel;
      if (row >= S::rows) continue;
      for (int v = 0; v < V; v++) x[r].v[v] = (float)((x[r].v[v] - center.v[v]) * square.v[v]);
      store<V>(normed, i, x[r]);
      if constexpr (S::masked) {
        Pack<V> m = load<V>(mask, i);
        for (int v = 0; v < V; v++) x[r].v[v] *= m.v[v];
        store<V>(dropped, i, x[r]);
      }
    }
  }
};

// NormGrad: from the cotangent of a normalised value to that of the value x before (operations batch_norm_sums →
// batch_norm_input_grad); the cotangent is S::apply of g, a tree of pointwise operations. S: also inputs (of
// apply), of which the first wholes are like x and the others have one element.
template <class S> struct NormGrad {
  In<float> g[S::inputs];
  In<float> x, mean, variance;
  Out<float> dx;

  __device__ void run(int block) const {
    constexpr int V = S::V, Rows = ceiling(S::rows, Threads);
    int channel = block * V;
    Pack<V> d[Rows], c[Rows], center = load<V>(mean, channel), spread = load<V>(variance, channel);
    ColumnSum<V> sum, along;
#pragma unroll
    for (int r = 0; r < Rows; r++) {
      int row = r * Threads + thread(), i = row * S::channels + channel;
      if (row >= S::rows) continue;
      c[r] = load<V>(x, i);
      d[r] = cotangent(i);
      for (int v = 0; v < V; v++) {
        c[r].v[v] -= center.v[v];
        sum.v[v] += d[r].v[v];
        along.v[v] += (double)d[r].v[v] * c[r].v[v];
      }
    }
    sum.of_block();
    along.of_block();
    double inverse[V];
    for (int v = 0; v < V; v++) {
      inverse[v] = 1 / sqrt(spread.v[v] + S::eps);
      along.v[v] *= inverse[v] * inverse[v] / S::rows;
      sum.v[v] /= S::rows;
    }
#pragma unroll
    for (int r = 0; r < Rows; r++) {
      int row = r * Threads + thread();
      if (row >= S::rows) continue;
      for (int v = 0; v < V; v++) d[r].v[v] = (float)(inverse[v] * (d[r].v[v] - sum.v[v] - along.v[v] * c[r].v[v]));
      store<V>(dx, row * S::channels + channel, d[r]);
    }
  }

  __device__ inline Pack<S::V> cotangent(int i) const {
    Pack<S::V> from[S::inputs], out;
    for (int k = 0; k < S::inputs; k++) from[k] = k >= S::wholes ? zero<S::V>() : load<S::V>(g[k], i);
    for (int v = 0; v < S::V; v++) {
      float a[S::inputs];
      for (int k = 0; k < S::inputs; k++) a[k] = k >= S::wholes ? g[k][0] : from[k].v[v];
      out.v[v] = S::apply(a);
    }
    return out;
  }
};
