// Highway connections of recurrent cells: out of a state s and a block of a product, whose halves are a gate c and a candidate
// h, comes Σ over activations k of weights[edge][k]·(s + σ(c)·(act_k(h) - s)). States are rows by channels; a row of a product
// has width elements and a block begins at from, first the gates, then the candidates.
// S: rows, channels, activations (how many), activation(k), blocks.

enum { None, Tanh, Relu, Sigmoid, Identity };

__device__ inline float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }

// Mixture of the activations at h, weighed by an edge: its value and slope, and the sum of the weights but None's.
template <class S> struct Activations {
  float value = 0, slope = 0, weight = 0;

  template <class P> __device__ inline Activations(P weights, int edge, float h) {
    float t = tanhf(h), s = sigmoid(h);
#pragma unroll
    for (int k = 0; k < S::activations; k++) {
      float w = weights[edge * S::activations + k];
      switch (S::activation(k)) {
      case None: continue;
      case Tanh: value += w * t, slope += w * (1 - t * t); break;
      case Relu: value += w * fmaxf(h, 0.0f), slope += h > 0 ? w : 0.0f; break;
      case Sigmoid: value += w * s, slope += w * s * (1 - s); break;
      case Identity: value += w * h, slope += w; break;
      }
      weight += w;
    }
  }
};

// HighwayNode computes V neighbouring channels of a node. S: terms, V; K: weights, product, state, edge, from, width by term.
template <class S> struct HighwayNode {
  template <class K> __device__ static inline Pack<S::V> at(const K& k, int row, int channel) {
    Pack<S::V> sum = zero<S::V>();
#pragma unroll
    for (int t = 0; t < S::terms; t++) {
      int i = row * k.width[t] + k.from[t] + channel;
      Pack<S::V> c = load<S::V>(k.product[t], i), h = load<S::V>(k.product[t], i + S::channels);
      Pack<S::V> s = load<S::V>(k.state[t], row * S::channels + channel);
      for (int v = 0; v < S::V; v++) {
        float open = sigmoid(c.v[v]);
        Activations<S> mixed(k.weights, k.edge[t], h.v[v]);
        sum.v[v] += mixed.weight * s.v[v] * (1 - open) + open * mixed.value;
      }
    }
    return sum;
  }
};

// Highway: a node (operation highway). S: also terms, V.
template <class S> struct Highway {
  In<float> weights;
  In<float> product[S::terms], state[S::terms];
  Out<float> y;
  int edge[S::terms], from[S::terms], width[S::terms];

  __device__ void run(int block) const {
    constexpr int Packs = S::channels / S::V;
    for (int i = block * Threads + thread(); i < S::rows * Packs; i += S::blocks * Threads)
      store<S::V>(y, i * S::V, HighwayNode<S>::at(*this, i / Packs, i % Packs * S::V));
  }
};

// HighwayGrad: the cotangents of a product and of the state that it was made from, which are used by nodes of cotangents g,
// one for each block of the product (operations highway_product_grad, of_product, and highway_state_grad, of_state). A block
// that no node uses has edge -1. S: also terms (blocks of the product).
template <class S> struct HighwayGrad {
  In<float> weights, product, state;
  In<float> g[S::terms];
  Out<float> dproduct, dstate;
  int edge[S::terms];

  __device__ void run(int block) const {
    for (int i = block * Threads + thread(); i < S::rows * S::channels; i += S::blocks * Threads) {
      int row = i / S::channels, channel = i % S::channels;
      float sum = 0;
#pragma unroll
      for (int t = 0; t < S::terms; t++) {
        int at = (row * S::terms + t) * 2 * S::channels + channel;
        float gate = 0, candidate = 0;
        if (edge[t] >= 0) {
          float open = sigmoid(product[at]), d = g[t][i];
          Activations<S> mixed(weights, edge[t], product[at + S::channels]);
          sum += d * mixed.weight * (1 - open);
          if constexpr (S::of_product) gate = d * open * (1 - open) * (mixed.value - mixed.weight * state[i]);
          candidate = d * open * mixed.slope;
        }
        if constexpr (S::of_product) dproduct[at] = gate, dproduct[at + S::channels] = candidate;
      }
      if constexpr (S::of_state) dstate[i] = sum;
    }
  }
};

// HighwayWeightGrad: of the weights, zero but for the edges of the terms (operation highway_weight_grad). S: those of Columns,
// over elements as rows of one channel; elements of a row of states, terms, weights (all of them).
template <class S> struct HighwayWeightGrad {
  static constexpr int Values = S::terms * S::activations, Batch = 1;
  typedef float Sum, Part;
  struct Row {
    float g, gate[S::terms], candidate[S::terms], state[S::terms];
  };
  In<float> g;
  In<float> product[S::terms], state[S::terms];
  Out<float> dw, partial;
  int edge[S::terms], from[S::terms], width[S::terms];
  int counter, blocks;

  __device__ inline Row read(int, int i, int) const {
    int row = i / S::elements, channel = i % S::elements;
    Row r;
    r.g = g[i];
#pragma unroll
    for (int t = 0; t < S::terms; t++) {
      int at = row * width[t] + from[t] + channel;
      r.gate[t] = product[t][at], r.candidate[t] = product[t][at + S::elements], r.state[t] = state[t][i];
    }
    return r;
  }
  __device__ inline void add(float (&sums)[Values][1], const Row& r, int) const {
#pragma unroll
    for (int t = 0; t < S::terms; t++) {
      float open = sigmoid(r.gate[t]), h = r.candidate[t], s = r.state[t];
#pragma unroll
      for (int k = 0; k < S::activations; k++) {
        float value = 0;
        switch (S::activation(k)) {
        case None: continue;
        case Tanh: value = tanhf(h); break;
        case Relu: value = fmaxf(h, 0.0f); break;
        case Sigmoid: value = sigmoid(h); break;
        case Identity: value = h; break;
        }
        sums[t * S::activations + k][0] += r.g * (s + open * (value - s));
      }
    }
  }
  template <class F> __device__ inline void finish(F total, int, int w) const {
    double sum = 0;
    for (int t = 0; t < S::terms; t++)
      if (edge[t] == w / S::activations) sum += total(t * S::activations + w % S::activations);
    dw[w] = (float)sum;
  }
  __device__ void run(int block) const { Columns<S, HighwayWeightGrad, S::weights>::run(*this, block); }
};
